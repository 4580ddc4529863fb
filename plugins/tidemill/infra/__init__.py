"""Terraform for exactly what some pipelines use: specs → needs (pure data) → a root of one provider."""
