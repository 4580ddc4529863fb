"""The reports of a verdict: for machines, and as a page for people."""
