# What Airflow's side may do: a policy for each step that calls AWS, to be given to whoever Airflow's connection signs as.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "prefix" {
  type        = string
  description = "What the policies' names begin with."
}

variable "policies" {
  type        = map(string)
  description = "The steps, and the policy of each."
}

variable "roles" {
  type        = set(string)
  description = "The names of the roles that Airflow's workers and triggerer run as."
}

resource "aws_iam_policy" "this" {
  for_each = var.policies

  name        = "${var.prefix}-${each.key}"
  description = "What the step ${each.key} of Tidemill's pipelines calls"
  policy      = each.value
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = {
    for pair in setproduct(var.roles, keys(var.policies)) : "${pair[0]} ${pair[1]}" => { role = pair[0], policy = pair[1] }
  }

  role       = each.value.role
  policy_arn = aws_iam_policy.this[each.value.policy].arn
}

output "policies" {
  value       = { for step, policy in aws_iam_policy.this : step => policy.arn }
  description = "The policies' ARNs by step."
}
