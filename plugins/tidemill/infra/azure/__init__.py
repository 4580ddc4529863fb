"""Azure: stores, workspaces of Azure ML, clusters, identities, roles of least privilege, alerts."""
