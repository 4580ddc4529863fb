"""Google Cloud: Vertex AI, Cloud Storage, Cloud Monitoring."""
