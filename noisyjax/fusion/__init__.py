"""One label from several raters."""

from noisyjax.fusion.voting import majority, mean
