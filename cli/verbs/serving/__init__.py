"""Verbs that put a model into other people's hands."""
