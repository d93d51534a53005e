"""What export takes: networks in their fixed-shape, folded form, made on a copy."""
