# The identity that jobs run as.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "name" {
  type        = string
  description = "The identity's name."
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

resource "azurerm_user_assigned_identity" "this" {
  name                = var.name
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
}

output "id" {
  value       = azurerm_user_assigned_identity.this.id
  description = "The identity's id."
}

output "principal_id" {
  value       = azurerm_user_assigned_identity.this.principal_id
  description = "Its object id, which roles are given to."
}

output "client_id" {
  value       = azurerm_user_assigned_identity.this.client_id
  description = "Its client id, which specs name."
}
