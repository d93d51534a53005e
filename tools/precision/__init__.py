"""Records of what precisions gain and cost."""
