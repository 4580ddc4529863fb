# A way from private subnets to S3 that leaves no network of AWS.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "subnets" {
  type        = set(string)
  description = "The subnets that jobs run in; of one VPC."
}

variable "region" {
  type        = string
  description = "The region of subnets and buckets."
}

data "aws_subnet" "this" {
  for_each = var.subnets

  id = each.value
}

data "aws_route_table" "this" {
  for_each = var.subnets

  subnet_id = each.value
}

# Without a policy of its own: it serves everything in these subnets, and callers are bound by theirs.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = one(toset([for subnet in data.aws_subnet.this : subnet.vpc_id]))
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = toset([for table in data.aws_route_table.this : table.id])
}

output "id" {
  value       = aws_vpc_endpoint.s3.id
  description = "The endpoint's id."
}
