"""Checkpoints, and the importers of other people's weights."""
