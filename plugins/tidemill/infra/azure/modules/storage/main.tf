# A storage account that answers over TLS alone, and to identities.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "name" {
  type        = string
  description = "The account's name."
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

variable "containers" {
  type        = set(string)
  description = "The containers in it."
}

variable "versions" {
  type        = bool
  description = "Whether it keeps the versions of blobs."
}

variable "hierarchical" {
  type        = bool
  description = "Whether it has a hierarchical namespace, as Data Lake Storage."
}

variable "shared_keys" {
  type        = bool
  description = "Whether it takes its own keys, too."
}

variable "days" {
  type        = map(number)
  description = "Container and folder to days after which what lies below is removed, by class of data."
}

variable "owns_lifecycle" {
  type        = bool
  description = "Whether the account's lifecycle has these rules alone."
}

resource "azurerm_storage_account" "this" {
  # checkov:skip=CKV_AZURE_33:Nothing that is written here uses the queues of an account.
  # checkov:skip=CKV_AZURE_59:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  # checkov:skip=CKV_AZURE_206:What lies here is copied from the data versions and the registry; a second region would double its price.
  # checkov:skip=CKV2_AZURE_1:Specs for Azure name no key; Azure encrypts with its own.
  # checkov:skip=CKV2_AZURE_33:No spec for Azure names a network: workers of Airflow come from outside, and identities decide who may.
  # checkov:skip=CKV2_AZURE_40:Pipelines' stores take none; the workspace's own is reached by Azure ML with its keys.
  # checkov:skip=CKV2_AZURE_41:Pipelines' stores take no signatures of keys; in the workspace's own they are Azure ML's, and short-lived.
  name                            = var.name
  resource_group_name             = var.resource_group
  location                        = var.location
  tags                            = var.tags
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  is_hns_enabled                  = var.hierarchical
  min_tls_version                 = "TLS1_2"
  allow_nested_items_to_be_public = false
  shared_access_key_enabled       = var.shared_keys
  local_user_enabled              = false

  blob_properties {
    versioning_enabled = var.versions

    delete_retention_policy {
      days = 7
    }

    container_delete_retention_policy {
      days = 7
    }
  }

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = !(var.versions && var.hierarchical)
      error_message = "Azure keeps no versions in an account with a hierarchical namespace."
    }
  }
}

resource "azurerm_storage_container" "this" {
  # checkov:skip=CKV2_AZURE_21:Who read what is told by the account's diagnostic settings, where the subscription has them; no run needs it.
  for_each = var.containers

  name                  = each.value
  storage_account_id    = azurerm_storage_account.this.id
  container_access_type = "private"
}

resource "azurerm_storage_management_policy" "this" {
  count = var.owns_lifecycle && length(var.days) > 0 ? 1 : 0

  storage_account_id = azurerm_storage_account.this.id

  dynamic "rule" {
    for_each = var.days

    content {
      # A rule's name has letters, digits and hyphens.
      name    = "expire-${replace(trimsuffix(rule.key, "/"), "/[^A-Za-z0-9]+/", "-")}-${substr(sha256(rule.key), 0, 8)}"
      enabled = true

      filters {
        blob_types   = ["blockBlob"]
        prefix_match = [rule.key]
      }

      actions {
        base_blob {
          delete_after_days_since_modification_greater_than = rule.value
        }

        dynamic "version" {
          for_each = var.versions ? [true] : []

          content {
            delete_after_days_since_creation = rule.value
          }
        }
      }
    }
  }
}

output "id" {
  value       = azurerm_storage_account.this.id
  description = "The account's id."

  # Rights are given on containers, which have to be there.
  depends_on = [azurerm_storage_container.this]
}
