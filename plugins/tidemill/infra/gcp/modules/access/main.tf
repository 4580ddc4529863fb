# Custom roles, one for each thing that a step does, granted on what it does it with and on nothing else.

terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

variable "project" {
  type        = string
  description = "The project, which the roles belong to."
}

variable "prefix" {
  type        = string
  description = "What the roles' ids begin with."
}

variable "steps" {
  type = map(map(object({
    permissions = set(string)
    on = map(object({
      kind      = string
      name      = string
      condition = optional(string, "")
    }))
  })))
  description = "Step, to what it does, to the permissions that this takes and what they are granted on: project, bucket or account."
}

variable "members" {
  type        = map(string)
  description = "Who gets the roles, by name."
}

locals {
  roles = merge([
    for step, grants in var.steps : { for what, grant in grants : "${step}_${what}" => grant }
  ]...)

  on = merge([
    for key, role in local.roles : { for told, one in role.on : "${key} ${told}" => merge(one, { key = key, told = told }) }
  ]...)

  granted = {
    for pair in setproduct(keys(var.members), keys(local.on)) :
    "${pair[1]} ${pair[0]}" => merge(local.on[pair[1]], { member = var.members[pair[0]] })
  }
}

resource "google_project_iam_custom_role" "this" {
  for_each = local.roles

  project     = var.project
  role_id     = "${var.prefix}_${each.key}"
  title       = "${var.prefix} ${each.key}"
  description = "What Tidemill's pipelines call on Google Cloud"
  permissions = each.value.permissions
}

resource "google_project_iam_member" "this" {
  for_each = { for key, one in local.granted : key => one if one.kind == "project" }

  project = each.value.name
  role    = google_project_iam_custom_role.this[each.value.key].id
  member  = each.value.member
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = { for key, one in local.granted : key => one if one.kind == "bucket" }

  bucket = each.value.name
  role   = google_project_iam_custom_role.this[each.value.key].id
  member = each.value.member

  dynamic "condition" {
    for_each = each.value.condition == "" ? [] : [each.value.condition]

    content {
      title      = substr(replace(each.value.told, "/[^A-Za-z0-9/._ -]/", "_"), 0, 100)
      expression = condition.value
    }
  }
}

resource "google_service_account_iam_member" "this" {
  for_each = { for key, one in local.granted : key => one if one.kind == "account" }

  service_account_id = each.value.name
  role               = google_project_iam_custom_role.this[each.value.key].id
  member             = each.value.member
}

output "roles" {
  value = {
    for key, role in local.roles : key => { role = google_project_iam_custom_role.this[key].id, on = role.on }
  }
  description = "The roles by step and what they are for, and what each counts on."
}
