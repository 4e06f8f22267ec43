"""From files to batches: sources, splits, simulated labels, augmentation, pipeline."""
