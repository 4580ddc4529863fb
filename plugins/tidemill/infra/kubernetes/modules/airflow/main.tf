# What Airflow's side may do in a namespace: a service account with the verbs that tasks and triggerer use, and no other.

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
  description = "The name of the service account, the role and its binding."
}

variable "rules" {
  type        = list(object({ groups = list(string), resources = list(string), verbs = list(string) }))
  description = "What may be done with which resources."
}

resource "kubernetes_service_account_v1" "this" {
  metadata {
    name      = var.name
    namespace = var.namespace
  }
}

resource "kubernetes_role_v1" "this" {
  metadata {
    name      = var.name
    namespace = var.namespace
  }

  dynamic "rule" {
    for_each = var.rules

    content {
      api_groups = rule.value.groups
      resources  = rule.value.resources
      verbs      = rule.value.verbs
    }
  }
}

resource "kubernetes_role_binding_v1" "this" {
  metadata {
    name      = var.name
    namespace = var.namespace
  }

  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "Role"
    name      = kubernetes_role_v1.this.metadata[0].name
  }

  subject {
    kind      = "ServiceAccount"
    name      = kubernetes_service_account_v1.this.metadata[0].name
    namespace = var.namespace
  }
}

output "name" {
  value       = kubernetes_service_account_v1.this.metadata[0].name
  description = "The service account's name."
}
