"""The array vocabulary of the package: one meaning per letter, one orientation per matrix.

Axes
    B   examples of a batch
    *S  space, ``(H, W)`` or ``(D, H, W)``; code is written once for both
    K   channels of an image (channels last)
    L   classes, class 0 is the background
    R   raters (annotators)
    N   samples drawn from a model
    n   number of spatial axes, ``len(S)``

A batch is a plain ``dict[str, Array]`` with

==============  ==============  ==================================================================
key             shape           meaning
==============  ==============  ==================================================================
``image``       [B, *S, K]      float32
``labels``      [B, R, *S]      class ids of each rater, uint8 or int32
``rater_mask``  [B, R]          bool, who labelled this image
``weight``      [B]             float32, 0 on padding examples
``id``          [B]             int32, unique in the source; padding repeats a real id with weight 0
``epoch``       [] or [B]       int32
``truth``       [B, *S]         uint8; read by evaluation, and by methods with `needs_truth`
==============  ==============  ==================================================================

Class ids of 255 are voxels that are left out, see `noisyjax.core.ignored`.

Confusion matrices are ``cms[..., i, j] = p(noisy = i | true = j)``: columns (over axis -2) sum to
one. The matrices of a batch are ``[B, R, *S, L, L]``.

Distances are in voxels unless the argument `spacing` (the size of a voxel along each axis, in mm)
turns them into millimetres.
"""

from jaxtyping import Array

BACKGROUND = 0

Batch = dict[str, Array]
