"""noisyjax: train and judge medical image segmentation when the labels are wrong."""

__version__ = "0.1.0"
