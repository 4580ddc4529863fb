# A workspace of Azure ML, with the key vault that it keeps its own secrets in.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "name" {
  type        = string
  description = "The workspace's name."
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

variable "vault" {
  type        = string
  description = "The key vault's name."
}

variable "storage_id" {
  type        = string
  description = "The storage account of the workspace's own files."
}

variable "insights_id" {
  type        = string
  description = "Application Insights."
}

variable "registry_id" {
  type        = string
  description = "The registry of images; null lets Azure ML make one where it needs it."
}

data "azurerm_client_config" "this" {}

resource "azurerm_key_vault" "this" {
  # checkov:skip=CKV_AZURE_109:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  # checkov:skip=CKV_AZURE_189:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  # checkov:skip=CKV2_AZURE_32:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  name                       = var.vault
  resource_group_name        = var.resource_group
  location                   = var.location
  tags                       = var.tags
  tenant_id                  = data.azurerm_client_config.this.tenant_id
  sku_name                   = "standard"
  purge_protection_enabled   = true
  soft_delete_retention_days = 90
}

resource "azurerm_machine_learning_workspace" "this" {
  # checkov:skip=CKV_AZURE_144:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  # checkov:skip=CKV2_AZURE_49:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  # checkov:skip=CKV2_AZURE_50:Its own store holds logs and snapshots of jobs, no data: that lies where the specs say.
  name                    = var.name
  resource_group_name     = var.resource_group
  location                = var.location
  tags                    = var.tags
  key_vault_id            = azurerm_key_vault.this.id
  storage_account_id      = var.storage_id
  application_insights_id = var.insights_id
  container_registry_id   = var.registry_id

  identity {
    type = "SystemAssigned"
  }

  lifecycle {
    # Azure ML makes one by itself where it has none, and another one would be another workspace.
    ignore_changes = [container_registry_id]
  }
}

output "id" {
  value       = azurerm_machine_learning_workspace.this.id
  description = "The workspace's id."
}
