"""The tools that steps work with: one module a tool, imported where it is used."""
