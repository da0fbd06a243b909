"""The PyTorch original's side of every comparison, and the numbers that both sides draw alike."""
