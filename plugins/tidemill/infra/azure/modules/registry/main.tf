# A registry of images, reached by identities alone.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "name" {
  type        = string
  description = "The registry's name."
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

resource "azurerm_container_registry" "this" {
  # checkov:skip=CKV_AZURE_139:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  # checkov:skip=CKV_AZURE_164:Content trust is Premium's, and Azure is giving it up.
  # checkov:skip=CKV_AZURE_165:Premium registries have that, at several times the price of all else here while idle.
  # checkov:skip=CKV_AZURE_166:Premium registries have that, at several times the price of all else here while idle.
  # checkov:skip=CKV_AZURE_167:Premium registries have that, at several times the price of all else here while idle.
  # checkov:skip=CKV_AZURE_233:Premium registries have that, at several times the price of all else here while idle.
  # checkov:skip=CKV_AZURE_237:Premium registries have that, at several times the price of all else here while idle.
  name                = var.name
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
  sku                 = "Standard"
  admin_enabled       = false
}

output "id" {
  value       = azurerm_container_registry.this.id
  description = "The registry's id."
}

output "server" {
  value       = azurerm_container_registry.this.login_server
  description = "What images are pushed to."
}
