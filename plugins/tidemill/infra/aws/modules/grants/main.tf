# What jobs do in this region, for a role that another root created.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "prefix" {
  type        = string
  description = "What the policies' names begin with."
}

variable "role" {
  type        = string
  description = "The role's name."
}

variable "policies" {
  type        = map(string)
  description = "What the jobs do, and the policy for it."
}

resource "aws_iam_role_policy" "this" {
  for_each = var.policies

  name   = "${var.prefix}-${each.key}"
  role   = var.role
  policy = each.value
}
