"""Google Cloud: buckets, custom roles of least privilege, service accounts, repositories, logs, alerts."""
