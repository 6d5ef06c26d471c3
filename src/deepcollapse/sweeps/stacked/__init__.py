"""Many small networks as one program: their parameters lie in stacked tensors, and every step is taken for all."""
