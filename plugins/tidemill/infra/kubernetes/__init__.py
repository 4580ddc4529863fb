"""Kubernetes: namespaces, service accounts and their rights, quotas, volumes, network policies."""
