"""Volumes and images as files, and what is done to them before training."""
