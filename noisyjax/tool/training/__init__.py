"""Networks for a folder of one's own: from a plan to folds, their ensemble and what it predicts."""
