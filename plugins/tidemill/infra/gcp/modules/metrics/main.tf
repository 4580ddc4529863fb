# The metrics that alerts are on: Cloud Monitoring takes no alert on one that it has never heard of.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "project" {
  type        = string
  description = "The project."
}

variable "types" {
  type        = set(string)
  description = "The metrics' types."
}

variable "labels" {
  type        = list(string)
  description = "The labels of their numbers."
}

resource "google_monitoring_metric_descriptor" "this" {
  for_each = var.types

  project      = var.project
  type         = each.key
  metric_kind  = "GAUGE"
  value_type   = "DOUBLE"
  display_name = trimprefix(each.key, "custom.googleapis.com/")
  description  = "Written by the monitors of Tidemill's pipelines"

  dynamic "labels" {
    for_each = var.labels

    content {
      key        = labels.value
      value_type = "STRING"
    }
  }
}

output "project" {
  value       = var.project
  description = "The project, once it knows the metrics."

  depends_on = [google_monitoring_metric_descriptor.this]
}
