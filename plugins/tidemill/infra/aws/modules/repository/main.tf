# A repository of images whose tags mean one image for ever.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "name" {
  type        = string
  description = "The repository's name."
}

variable "kms_key_arn" {
  type        = string
  description = "The key that encrypts the images."
}

variable "untagged_days" {
  type        = number
  description = "Days after which an image without a tag is removed."
}

resource "aws_ecr_repository" "this" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Images without a tag"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = var.untagged_days }
      action       = { type = "expire" }
    }]
  })
}

output "url" {
  value       = aws_ecr_repository.this.repository_url
  description = "What an image is pushed to, without its tag."
}
