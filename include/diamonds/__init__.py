"""The quiet counterpart of the flights: prices of diamonds, in which nothing changes over time."""
