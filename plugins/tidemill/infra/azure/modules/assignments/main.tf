# A role, given to some at some places.

terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}

variable "role" {
  type        = string
  description = "The role's id."
}

variable "principals" {
  type        = map(string)
  description = "What each is called, and its object id."
}

variable "scopes" {
  type        = map(string)
  description = "What each place is called, and its id."
}

resource "azurerm_role_assignment" "this" {
  for_each = {
    for pair in setproduct(keys(var.principals), keys(var.scopes)) : "${pair[0]} at ${pair[1]}" => { principal = pair[0], scope = pair[1] }
  }

  role_definition_id = var.role
  principal_id       = var.principals[each.value.principal]
  scope              = var.scopes[each.value.scope]
}
