# A role that jobs run as, with one policy for each thing they do.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "name" {
  type        = string
  description = "The role's name."
}

variable "path" {
  type        = string
  description = "The role's path."
}

variable "account" {
  type        = string
  description = "The account on whose behalf the services may take the role."
}

variable "services" {
  type        = list(string)
  description = "The services that run jobs as this role."
}

variable "policies" {
  type        = map(string)
  description = "What the jobs do, and the policy for it."
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = var.services
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = var.name
  path               = var.path
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "this" {
  for_each = var.policies

  name   = each.key
  role   = aws_iam_role.this.id
  policy = each.value
}

output "arn" {
  value       = aws_iam_role.this.arn
  description = "The role's ARN."

  # A job that is started before the policies are there fails.
  depends_on = [aws_iam_role_policy.this]
}
