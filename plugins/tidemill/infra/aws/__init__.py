"""AWS: buckets, roles of least privilege, queues, repositories, logs, alarms."""
