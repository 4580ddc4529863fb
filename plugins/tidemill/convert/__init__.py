"""dag-factory's YAML to specs. Nothing that a file names is imported, evaluated or run."""
