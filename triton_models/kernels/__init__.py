"""GPU kernels in the Triton language, whose compiler comes with PyTorch for GPUs."""
