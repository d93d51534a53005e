"""Labelled pictures to training batches."""
