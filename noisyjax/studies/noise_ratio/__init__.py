"""The study of how many noisy cases are too many."""
