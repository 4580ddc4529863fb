# The key that encrypts what these pipelines store and log.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "alias" {
  type        = string
  description = "The key's alias, without \"alias/\"."
}

variable "account" {
  type        = string
  description = "The account that governs the key by its IAM policies."
}

variable "region" {
  type        = string
  description = "The region of the log groups."
}

variable "partition" {
  type        = string
  description = "The partition, as ARNs begin with it."
}

variable "encrypts_logs" {
  type        = bool
  description = "Whether CloudWatch Logs may use the key."
}

data "aws_iam_policy_document" "this" {
  # checkov:skip=CKV_AWS_109:A key's policy that did not trust its own account could never be changed again.
  # checkov:skip=CKV_AWS_111:In a key's policy "*" is this key alone.
  # checkov:skip=CKV_AWS_356:In a key's policy "*" is this key alone.
  statement {
    sid       = "Account"
    actions   = ["kms:*"] # the account's IAM policies decide who may do what with the key
    resources = ["*"]     # this key alone

    principals {
      type        = "AWS"
      identifiers = ["arn:${var.partition}:iam::${var.account}:root"]
    }
  }

  dynamic "statement" {
    for_each = var.encrypts_logs ? [true] : []

    content {
      sid       = "Logs"
      actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
      resources = ["*"] # this key alone

      principals {
        type        = "Service"
        identifiers = ["logs.${var.region}.amazonaws.com"]
      }

      condition {
        test     = "ArnLike"
        variable = "kms:EncryptionContext:aws:logs:arn"
        values   = ["arn:${var.partition}:logs:${var.region}:${var.account}:log-group:*"]
      }
    }
  }
}

resource "aws_kms_key" "this" {
  description             = "What Tidemill's pipelines store and log"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.this.json
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.alias}"
  target_key_id = aws_kms_key.this.key_id
}

output "arn" {
  value       = aws_kms_key.this.arn
  description = "The key's ARN."

  # Whoever uses the key needs its policy, too.
  depends_on = [aws_kms_alias.this]
}
