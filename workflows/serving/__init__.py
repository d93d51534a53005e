"""Models put into other people's hands."""
