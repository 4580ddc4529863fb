# Alerts on what a pipeline's monitor writes to Cloud Monitoring.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "prefix" {
  type        = string
  description = "What the alerts' names begin with."
}

variable "project" {
  type        = string
  description = "The project."
}

variable "labels" {
  type        = map(string)
  description = "The labels that the monitor's numbers have for any version of the model."
}

variable "alerts" {
  type = map(object({
    metric      = string
    comparison  = string
    threshold   = number
    description = string
  }))
  description = "The alerts by the end of their names."
}

variable "channels" {
  type        = list(string)
  description = "The notification channels that are told of an alert and of its end."
}

resource "google_monitoring_alert_policy" "this" {
  for_each = var.alerts

  project               = var.project
  display_name          = "${var.prefix}-${each.key}"
  combiner              = "OR"
  notification_channels = var.channels

  documentation {
    content   = each.value.description
    mime_type = "text/markdown"
  }

  conditions {
    display_name = each.value.description

    condition_threshold {
      filter = join(" AND ", concat(
        ["resource.type = \"global\"", "metric.type = \"${each.value.metric}\""],
        [for label, value in var.labels : "metric.labels.${label} = ${jsonencode(value)}"],
      ))
      comparison      = each.value.comparison
      threshold_value = each.value.threshold
      duration        = "60s"

      # Between two runs of the monitor there is nothing: what is open stays open, as long as Google lets it.
      evaluation_missing_data = "EVALUATION_MISSING_DATA_NO_OP"

      # A number counts for a day: the longest that Google looks back is 25 hours.
      aggregations {
        alignment_period     = "86400s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_MAX"
      }
    }
  }

  alert_strategy {
    auto_close = "604800s" # a week, the longest there is
  }
}
