"""COCO-format pictures to training batches."""
