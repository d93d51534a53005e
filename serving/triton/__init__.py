"""A model as NVIDIA Triton's server takes it: a folder with its `config.pbtxt`."""
