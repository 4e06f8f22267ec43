"""Folders of images and labels in nnU-Net's raw layout."""
