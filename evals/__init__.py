"""Training programs with ground truth, and what measures the engine against them."""
