"""INT8 files in ONNX Runtime's integer kernels for CPUs."""
