# A volume that pods and Airflow's workers mount.

terraform {
  required_providers {
    kubernetes = { source = "hashicorp/kubernetes" }
  }
}

variable "namespace" {
  type        = string
  description = "The namespace."
}

variable "claim" {
  type        = string
  description = "The claim's name."
}

variable "size" {
  type        = string
  description = "The volume's size."
}

variable "storage_class" {
  type        = string
  description = "A storage class that many nodes can write to at once; the cluster's default if null."
}

resource "kubernetes_persistent_volume_claim_v1" "this" {
  metadata {
    name      = var.claim
    namespace = var.namespace
  }

  spec {
    access_modes       = ["ReadWriteMany"]
    storage_class_name = var.storage_class

    resources {
      requests = { storage = var.size }
    }
  }

  # Some classes bind a claim only when a pod asks for it.
  wait_until_bound = false

  lifecycle {
    prevent_destroy = true
  }
}
