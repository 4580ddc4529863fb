"""Where a pipeline's work runs: narrow ports, and one folder a platform that fills them in."""
