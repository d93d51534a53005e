"""Everything about an NVIDIA GPU that only one can show, in one command; see `run.py`."""
