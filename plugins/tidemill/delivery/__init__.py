"""The delivery pipeline of a repository of specs, for the CI system that hosts it."""
