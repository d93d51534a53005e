"""An engine as NVIDIA DeepStream's `nvinfer` takes it. Compiled in tests, never run here."""
