"""Which precision each node group computes in, found by trying."""
