"""TensorRT and TensorRT-RTX engines as sessions."""
