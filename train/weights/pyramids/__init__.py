"""Detectors on a feature pyramid out of other libraries' files."""
