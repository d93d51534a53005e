"""Large pictures and dense scenes: overlapping tiles, and their instances as those of the whole."""
