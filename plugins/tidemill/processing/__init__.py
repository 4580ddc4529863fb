"""What runs in a processing job's container: the function of a step over the files that the job was given."""
