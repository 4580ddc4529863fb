# Application Insights, and the Log Analytics workspace that keeps what it is told.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "prefix" {
  type        = string
  description = "What names begin with."
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

variable "retention_days" {
  type        = number
  description = "Days for which it is kept."
}

resource "azurerm_log_analytics_workspace" "this" {
  name                = "${var.prefix}-logs"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
  sku                 = "PerGB2018"
  retention_in_days   = var.retention_days
}

resource "azurerm_application_insights" "this" {
  name                = "${var.prefix}-insights"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
  application_type    = "other"
  workspace_id        = azurerm_log_analytics_workspace.this.id
}

output "insights_id" {
  value       = azurerm_application_insights.this.id
  description = "The id of Application Insights."
}
