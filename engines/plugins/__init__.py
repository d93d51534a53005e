"""The custom operators as plugins of TensorRT and TensorRT-RTX."""
