"""Exact rewrites of the graph, each in a module with its proof."""
