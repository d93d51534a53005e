"""The least time that a graph needs on GPUs that are not here: a floor, never a measurement."""
