"""CUDA without torch: memory, arrays of others, pictures and masks on the GPU."""
