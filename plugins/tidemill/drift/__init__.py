"""Drift: the profile of a reference, the distance of other rows from it, and the report of both."""
