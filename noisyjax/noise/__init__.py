"""Simulated label noise: pure functions of a key and a mask, batched by `vmap`."""
