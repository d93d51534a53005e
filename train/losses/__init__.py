"""Targets and losses of both families."""
