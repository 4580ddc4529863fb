"""Azure: Azure ML jobs and tracking, Blob Storage and ADLS Gen2, Application Insights."""
