# What pods run as. It has no rights in the cluster; a cloud knows it by its annotations.

terraform {
  required_providers {
    kubernetes = { source = "hashicorp/kubernetes" }
  }
}

variable "namespace" {
  type        = string
  description = "The namespace."
}

variable "name" {
  type        = string
  description = "The service account's name."
}

variable "annotations" {
  type        = map(string)
  description = "What the cluster's workload identity reads, e.g. eks.amazonaws.com/role-arn."
}

resource "kubernetes_service_account_v1" "this" {
  metadata {
    name        = var.name
    namespace   = var.namespace
    annotations = var.annotations
  }

  automount_service_account_token = false
}

output "name" {
  value       = kubernetes_service_account_v1.this.metadata[0].name
  description = "The service account's name."
}
