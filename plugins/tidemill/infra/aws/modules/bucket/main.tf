# A bucket that keeps versions, encrypts with a key of its own, and answers over TLS alone.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "name" {
  type        = string
  description = "The bucket's name."
}

variable "kms_key_arn" {
  type        = string
  description = "The key that encrypts what is stored."
}

variable "days" {
  type        = map(number)
  description = "Prefix to days after which what lies below it is removed, by class of data; its versions as long after."
}

variable "owns_lifecycle" {
  type        = bool
  description = "Whether the bucket's lifecycle has these rules alone."
}

resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV_AWS_18:Access is seen by CloudTrail's data events, where the account has them; a log bucket is the account's, not a pipeline's.
  # checkov:skip=CKV_AWS_144:What lies here is copied from the data versions and the registry; a second region would double its price.
  # checkov:skip=CKV2_AWS_62:Nothing waits for an object: the runs themselves know when a file is there.
  bucket = var.name

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  count  = var.owns_lifecycle ? 1 : 0
  bucket = aws_s3_bucket.this.id

  # Rules about versions are refused until the bucket keeps them.
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  dynamic "rule" {
    for_each = var.days

    content {
      id     = "expire ${rule.key}"
      status = "Enabled"

      filter {
        prefix = rule.key
      }

      expiration {
        days = rule.value
      }

      noncurrent_version_expiration {
        noncurrent_days = rule.value
      }
    }
  }
}

data "aws_iam_policy_document" "tls" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"] # a denial: nothing at all without TLS
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.tls.json

  # Both change the bucket's policies, which S3 does one at a time.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

output "name" {
  value       = aws_s3_bucket.this.id
  description = "The bucket's name."
}
