# A repository of images whose tags mean one image for ever.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "name" {
  type        = string
  description = "The repository's name."
}

variable "project" {
  type        = string
  description = "The project."
}

variable "location" {
  type        = string
  description = "Where the repository is."
}

variable "kms_key_name" {
  type        = string
  description = "The key that encrypts the images; Google's own if null."
}

variable "untagged_days" {
  type        = number
  description = "Days after which an image without a tag is removed."
}

resource "google_artifact_registry_repository" "this" {
  # checkov:skip=CKV_GCP_84:Images hold no data; they are encrypted with Google's keys, or with the one that the spec names.
  project       = var.project
  location      = var.location
  repository_id = var.name
  description   = "Images that trainings run in"
  format        = "DOCKER"
  kms_key_name  = var.kms_key_name

  docker_config {
    immutable_tags = true
  }

  cleanup_policies {
    id     = "untagged"
    action = "DELETE"

    condition {
      tag_state  = "UNTAGGED"
      older_than = "${var.untagged_days * 86400}s"
    }
  }
}

output "url" {
  value       = "${var.location}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.this.repository_id}"
  description = "What images are pushed to, without their names."
}
