# The logs of Vertex AI's trainings, for longer than the 30 days that the project keeps them by itself.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "name" {
  type        = string
  description = "The log bucket's name."
}

variable "project" {
  type        = string
  description = "The project."
}

variable "location" {
  type        = string
  description = "Where the logs are."
}

variable "retention_days" {
  type        = number
  description = "Days for which a log is kept."
}

resource "google_logging_project_bucket_config" "this" {
  project        = var.project
  location       = var.location
  bucket_id      = var.name
  retention_days = var.retention_days
  description    = "Logs of Vertex AI's trainings"
}

resource "google_logging_project_sink" "this" {
  project                = var.project
  name                   = var.name
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.this.id}"
  filter                 = "resource.type=\"ml_job\""
  unique_writer_identity = true # it needs no right: the log bucket is the same project's
}
