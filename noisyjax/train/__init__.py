"""Training: state, optimiser, the pure step and how it is spread, the loop, its files."""

from noisyjax.train.loop import evaluate_run, restore, train_and_evaluate
