# A namespace for jobs.

terraform {
  required_providers {
    kubernetes = { source = "hashicorp/kubernetes" }
  }
}

variable "name" {
  type        = string
  description = "The namespace's name."
}

variable "labels" {
  type        = map(string)
  description = "The namespace's labels."
}

resource "kubernetes_namespace_v1" "this" {
  metadata {
    name = var.name

    # Pods are made without a security context, which the level "restricted" asks for.
    labels = merge(var.labels, { "pod-security.kubernetes.io/enforce" = "baseline" })
  }
}

output "name" {
  value       = kubernetes_namespace_v1.this.metadata[0].name
  description = "The namespace's name."
}
