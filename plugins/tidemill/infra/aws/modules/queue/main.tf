# A queue of AWS Batch and the machines behind it, which are gone when nothing waits.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "name" {
  type        = string
  description = "The queue's name."
}

variable "spot" {
  type        = bool
  description = "Whether the machines are spot machines."
}

variable "max_vcpus" {
  type        = number
  description = "Processors of all machines together, at most."
}

variable "instance_types" {
  type        = list(string)
  description = "Machine types or families; \"optimal\" lets Batch choose."
}

variable "instance_profile_arn" {
  type        = string
  description = "The instance profile of the machines."
}

variable "subnets" {
  type        = list(string)
  description = "The subnets that the machines are in."
}

variable "security_groups" {
  type        = list(string)
  description = "The security groups of the machines."
}

resource "aws_batch_compute_environment" "this" {
  name_prefix = "${var.name}-"
  type        = "MANAGED"

  compute_resources {
    type                = var.spot ? "SPOT" : "EC2"
    allocation_strategy = var.spot ? "SPOT_PRICE_CAPACITY_OPTIMIZED" : "BEST_FIT_PROGRESSIVE"
    min_vcpus           = 0
    max_vcpus           = var.max_vcpus
    instance_type       = var.instance_types
    instance_role       = var.instance_profile_arn
    subnets             = var.subnets
    security_group_ids  = var.security_groups
  }

  lifecycle {
    # A queue needs one at any time.
    create_before_destroy = true
  }
}

resource "aws_batch_job_queue" "this" {
  name     = var.name
  state    = "ENABLED"
  priority = 1

  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.this.arn
  }
}

output "arn" {
  value       = aws_batch_job_queue.this.arn
  description = "The queue's ARN."
}
