"""Segmentation of one folder by this package beside nnU-Net, in equal processor time."""
