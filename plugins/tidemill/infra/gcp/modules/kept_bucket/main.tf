# A bucket that keeps versions, encrypts with a key of its own, and is never public. The rules of its lifecycle are
# written by the pipelines that keep data versions in it: Terraform leaves them alone.

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

  lifecycle {
    ignore_changes  = [lifecycle_rule]
    prevent_destroy = true
  }
}

output "name" {
  value       = google_storage_bucket.this.name
  description = "The bucket's name."
}
