"""AWS: SageMaker training jobs and AWS Batch, S3, CloudWatch and SageMaker Experiments."""
