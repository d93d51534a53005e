"""Which evaluator matches detections with objects, and how it is asked."""
