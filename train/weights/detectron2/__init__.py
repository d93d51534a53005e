"""Detectron2 checkpoints: names of tensors, and the settings that are not weights."""
