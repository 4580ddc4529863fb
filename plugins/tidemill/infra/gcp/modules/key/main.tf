# The key that encrypts what the buckets hold.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "name" {
  type        = string
  description = "The key ring's name."
}

variable "project" {
  type        = string
  description = "The project."
}

variable "location" {
  type        = string
  description = "Where the key is: where the buckets are."
}

resource "google_kms_key_ring" "this" {
  project  = var.project
  name     = var.name
  location = var.location
}

resource "google_kms_crypto_key" "this" {
  name            = "storage"
  key_ring        = google_kms_key_ring.this.id
  rotation_period = "7776000s" # 90 days

  lifecycle {
    prevent_destroy = true
  }
}

# Cloud Storage itself encrypts and decrypts, as its service agent.
data "google_storage_project_service_account" "this" {
  project = var.project
}

resource "google_kms_crypto_key_iam_member" "this" {
  crypto_key_id = google_kms_crypto_key.this.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = data.google_storage_project_service_account.this.member
}

output "id" {
  value       = google_kms_crypto_key.this.id
  description = "The key's name, once Cloud Storage may use it."

  depends_on = [google_kms_crypto_key_iam_member.this]
}
