"""The language: reading specs with their source positions, units, and errors that have a place."""
