"""Seeded changes of what every reader reads, in processes with limits; see `run.py`."""
