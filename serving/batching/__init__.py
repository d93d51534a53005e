"""Requests that wait, and the batches they are run in."""
