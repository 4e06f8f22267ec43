"""The layouts that a folder may have: nnU-Net's raw one, or BIDS."""

import pathlib

from noisyjax.data.folder import bids_layout, nnunet_layout


def read(root: str | pathlib.Path) -> nnunet_layout.Layout:
    """Lists what a folder holds, in the layout that it has, and what is wrong with it."""
    layout = bids_layout if bids_layout.is_one(root) else nnunet_layout
    return layout.read(root)
