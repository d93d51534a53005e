"""Ground truth as COCO records, predictions on it, AP and AR."""
