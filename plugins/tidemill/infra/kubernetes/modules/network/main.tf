# Who the pods of trainings talk to. What a training needs besides goes into a policy of your own: policies add up.

terraform {
  required_providers {
    kubernetes = { source = "hashicorp/kubernetes" }
  }
}

variable "namespace" {
  type        = string
  description = "The namespace."
}

variable "reaches_store" {
  type        = bool
  description = "Whether the pods reach a bucket, and with it the cloud's identities."
}

variable "reaches_peers" {
  type        = bool
  description = "Whether pods reach each other: trainings of several."
}

resource "kubernetes_network_policy_v1" "this" {
  metadata {
    name      = "trainings"
    namespace = var.namespace
  }

  spec {
    policy_types = ["Ingress", "Egress"]

    pod_selector {
      match_expressions {
        key      = "tidemill-job"
        operator = "Exists"
      }
    }

    dynamic "ingress" {
      for_each = var.reaches_peers ? [true] : []

      content {
        from {
          pod_selector {
            match_expressions {
              key      = "tidemill-job"
              operator = "Exists"
            }
          }
        }
      }
    }

    dynamic "egress" {
      for_each = var.reaches_peers ? [true] : []

      content {
        to {
          pod_selector {
            match_expressions {
              key      = "tidemill-job"
              operator = "Exists"
            }
          }
        }
      }
    }

    # Names.
    egress {
      ports {
        port     = "53"
        protocol = "UDP"
      }

      ports {
        port     = "53"
        protocol = "TCP"
      }
    }

    # The store.
    dynamic "egress" {
      for_each = var.reaches_store ? [true] : []

      content {
        ports {
          port     = "443"
          protocol = "TCP"
        }
      }
    }

    # The cloud's identities: EKS Pod Identity, and GKE's metadata server with its port on the node.
    dynamic "egress" {
      for_each = var.reaches_store ? [true] : []

      content {
        to {
          ip_block {
            cidr = "169.254.0.0/16"
          }
        }

        ports {
          port     = "80"
          protocol = "TCP"
        }

        ports {
          port     = "988"
          protocol = "TCP"
        }
      }
    }
  }
}
