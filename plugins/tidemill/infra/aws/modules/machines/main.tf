# What the machines behind the queues of AWS Batch run as: they join the cluster, pull images and write logs.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "name" {
  type        = string
  description = "The name of role and instance profile."
}

variable "partition" {
  type        = string
  description = "The partition, as ARNs begin with it."
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = var.name
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

# AWS's own policy for container instances: what the agent on them calls is AWS's affair, and changes with it.
resource "aws_iam_role_policy_attachment" "this" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "this" {
  name = var.name
  role = aws_iam_role.this.name
}

output "instance_profile_arn" {
  value       = aws_iam_instance_profile.this.arn
  description = "The instance profile's ARN."

  depends_on = [aws_iam_role_policy_attachment.this]
}
