# A service account that jobs run as. It has no key: Vertex AI hands its tokens to the jobs.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "name" {
  type        = string
  description = "The account's name, without its project."
}

variable "project" {
  type        = string
  description = "The project."
}

resource "google_service_account" "this" {
  project      = var.project
  account_id   = var.name
  display_name = "Trainings of Tidemill"
}

output "email" {
  value       = google_service_account.this.email
  description = "The account's address."
}
