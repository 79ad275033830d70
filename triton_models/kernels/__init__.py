"""GPU kernels in the Triton language, whose compiler is part of PyTorch for GPUs."""
