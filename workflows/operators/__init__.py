"""The custom operators timed in every way that this machine can compute them."""
