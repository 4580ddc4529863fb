# Alerts on what a pipeline's monitor writes to Application Insights.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "prefix" {
  type        = string
  description = "What the alerts' names begin with."
}

variable "resource_group" {
  type        = string
  description = "The resource group."
}

variable "location" {
  type        = string
  description = "The region."
}

variable "tags" {
  type        = map(string)
  description = "Tags."
}

variable "insights_id" {
  type        = string
  description = "Application Insights."
}

variable "dimensions" {
  type        = map(string)
  description = "The dimensions that the monitor's numbers have."
}

variable "alerts" {
  type = map(object({
    metric      = string
    holds       = string
    description = string
  }))
  description = "The alerts by the end of their names: a metric, and what its value is compared with."
}

variable "groups" {
  type        = list(string)
  description = "The ids of the action groups that are told of an alert and of its end."
}

# Rules over the numbers as they are kept: rules over Azure's own metrics see no dimensions of custom ones, unless the
# whole resource was opted in by hand, and so could not tell one pipeline from another.
resource "azurerm_monitor_scheduled_query_rules_alert_v2" "this" {
  for_each = var.alerts

  name                = "${var.prefix}-${each.key}"
  description         = each.value.description
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
  scopes              = [var.insights_id]
  severity            = 2

  # Numbers may be two days old when they are written, and rules look no further back: the last word holds as long.
  evaluation_frequency    = "PT1H"
  window_duration         = "P2D"
  auto_mitigation_enabled = true

  criteria {
    query = join("\n", concat(
      ["customMetrics", "| where name == ${jsonencode(each.value.metric)}"],
      [for key, value in var.dimensions : "| where tostring(customDimensions[${jsonencode(key)}]) == ${jsonencode(value)}"],
      ["| summarize arg_max(timestamp, value)", "| where value ${each.value.holds}"],
    ))
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
  }

  action {
    action_groups = var.groups
  }
}
