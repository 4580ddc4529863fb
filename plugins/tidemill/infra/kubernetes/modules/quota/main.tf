# How much all pods of a namespace may take together.

terraform {
  required_providers {
    kubernetes = { source = "hashicorp/kubernetes" }
  }
}

variable "namespace" {
  type        = string
  description = "The namespace."
}

variable "hard" {
  type        = map(string)
  description = "Resource to how much of it."
}

resource "kubernetes_resource_quota_v1" "this" {
  metadata {
    name      = "trainings"
    namespace = var.namespace
  }

  spec {
    hard = var.hard
  }
}
