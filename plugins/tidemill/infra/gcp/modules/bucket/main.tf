# A bucket that keeps versions, encrypts with a key of its own, and is never public.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "name" {
  type        = string
  description = "The bucket's name."
}

variable "project" {
  type        = string
  description = "The project."
}

variable "location" {
  type        = string
  description = "Where the bucket is."
}

variable "kms_key_name" {
  type        = string
  description = "The key that encrypts what is stored."
}

variable "days" {
  type        = map(number)
  description = "Prefix to days after which what lies below it is removed, by class of data; its versions as long after."
}

resource "google_storage_bucket" "this" {
  # checkov:skip=CKV_GCP_62:Access is seen by Cloud Audit Logs, where the project has those of data access on; a log bucket is the project's, not a pipeline's.
  project                     = var.project
  name                        = var.name
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  encryption {
    default_kms_key_name = var.kms_key_name
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }

    condition {
      age = 7
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.days

    content {
      action {
        type = "Delete"
      }

      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
        with_state     = "LIVE"
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.days

    content {
      action {
        type = "Delete"
      }

      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        matches_prefix             = [lifecycle_rule.key]
        with_state                 = "ARCHIVED"
      }
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

output "name" {
  value       = google_storage_bucket.this.name
  description = "The bucket's name."
}
