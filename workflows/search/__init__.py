"""Search for the precision of every node group, and what it writes."""
