# A log group that a service writes its jobs' logs to.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "name" {
  type        = string
  description = "The log group's name, which the service prescribes."
}

variable "retention_days" {
  type        = number
  description = "Days for which a log is kept."
}

variable "kms_key_arn" {
  type        = string
  description = "The key that encrypts the logs."
}

resource "aws_cloudwatch_log_group" "this" {
  name              = var.name
  retention_in_days = var.retention_days
  kms_key_id        = var.kms_key_arn
}
