"""Checkpoint -> ONNX: the deploy form's graph, local functions, precision, verification.

Knows torch and onnx, never tensorrt. What leaves it is one `.onnx` file with its contract inside.
"""
