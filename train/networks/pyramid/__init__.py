"""Mask R-CNN and Faster R-CNN on a feature pyramid, and what only they have."""
