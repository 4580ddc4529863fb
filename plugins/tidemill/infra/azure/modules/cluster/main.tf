# A cluster of Azure ML, whose machines are gone when nothing runs.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "name" {
  type        = string
  description = "The cluster's name."
}

variable "location" {
  type        = string
  description = "The region."
}

variable "tags" {
  type        = map(string)
  description = "Tags."
}

variable "workspace_id" {
  type        = string
  description = "The workspace."
}

variable "priority" {
  type        = string
  description = "The tier: \"Dedicated\" or \"LowPriority\"."
}

variable "size" {
  type        = string
  description = "The machines' size."
}

variable "nodes" {
  type        = number
  description = "Machines at most."
}

variable "identities" {
  type        = list(string)
  description = "The identities that jobs name; without any, they run as the cluster's own."
}

resource "azurerm_machine_learning_compute_cluster" "this" {
  name                          = var.name
  location                      = var.location
  tags                          = var.tags
  machine_learning_workspace_id = var.workspace_id
  vm_priority                   = var.priority
  vm_size                       = var.size
  local_auth_enabled            = false

  scale_settings {
    min_node_count                       = 0
    max_node_count                       = var.nodes
    scale_down_nodes_after_idle_duration = "PT2M"
  }

  identity {
    type         = length(var.identities) > 0 ? "UserAssigned" : "SystemAssigned"
    identity_ids = length(var.identities) > 0 ? var.identities : null
  }
}

output "principal_id" {
  value       = azurerm_machine_learning_compute_cluster.this.identity[0].principal_id
  description = "The object id of the cluster's own identity."
}
