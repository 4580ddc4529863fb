# Alarms on what a pipeline's monitor writes to CloudWatch.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "prefix" {
  type        = string
  description = "What the alarms' names begin with."
}

variable "namespace" {
  type        = string
  description = "The namespace that the monitor writes to."
}

variable "dimensions" {
  type        = map(string)
  description = "The dimensions that the monitor's numbers have for any version of the model."
}

variable "alarms" {
  type = map(object({
    metric      = string
    comparison  = string
    threshold   = number
    description = string
  }))
  description = "The alarms by the end of their names."
}

variable "topics" {
  type        = list(string)
  description = "The ARNs of what is told of an alarm and of its end, e.g. SNS topics."
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = var.alarms

  alarm_name          = "${var.prefix}-${each.key}"
  alarm_description   = each.value.description
  namespace           = var.namespace
  metric_name         = each.value.metric
  dimensions          = var.dimensions
  statistic           = "Maximum"
  period              = 86400
  evaluation_periods  = 1
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold

  # Between two runs of the monitor there is nothing: the last word holds.
  treat_missing_data = "ignore"

  alarm_actions = var.topics
  ok_actions    = var.topics
}
