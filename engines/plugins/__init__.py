"""The custom operators as plugins of TensorRT, whose kernels become part of an engine."""
