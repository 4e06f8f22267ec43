"""Training: state, optimiser, the pure step and how it is spread, the loop, its files."""

from noisyjax.train.loop import train_and_evaluate
from noisyjax.train.saved_runs import evaluate_run, restore
