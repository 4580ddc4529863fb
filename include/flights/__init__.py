"""The demonstration: which departures from New York will arrive more than 15 minutes late?"""
