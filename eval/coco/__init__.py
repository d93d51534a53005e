"""COCO-format ground truth, predictions on it, AP and AR."""
