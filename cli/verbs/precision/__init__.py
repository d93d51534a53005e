"""The verbs that choose precisions."""
