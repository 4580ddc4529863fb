# The services of Google Cloud that these pipelines use. Everything else waits for them.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "project" {
  type        = string
  description = "The project."
}

variable "services" {
  type        = set(string)
  description = "The services' names."
}

resource "google_project_service" "this" {
  for_each = var.services

  project            = var.project
  service            = each.key
  disable_on_destroy = false # others in the project may use it
}

output "project" {
  value       = var.project
  description = "The project, once its services are on."

  depends_on = [google_project_service.this]
}
