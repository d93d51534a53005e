"""What changed between two artefacts of one network, and whether that passes."""
