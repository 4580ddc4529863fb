"""The platform ``kubernetes``: jobs of the cluster, with a bucket of any cloud or a shared volume as their store."""
