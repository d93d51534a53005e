"""Training in PyTorch: networks, data, losses, the training loop and checkpoints.

The only folder that knows torch modules; what leaves it is a checkpoint (safetensors beside its
resolved YAML recipe).
"""
