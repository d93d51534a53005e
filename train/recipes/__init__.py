"""Recipes: the dataclasses, their reader, and the YAML files that ship."""
