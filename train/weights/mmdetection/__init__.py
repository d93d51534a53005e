"""MMDetection checkpoints: names of tensors, and the settings in the text of their config."""
