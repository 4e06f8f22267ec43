"""Losses: pure arithmetic on the arrays of one example; batches by ``jax.vmap``.

Every function returns a quantity to be minimised, unreduced over space where the formula allows it,
and leaves out what `where` or `rater_mask` leave out.
"""

from noisyjax.losses import confusion, entropy, latent, overlap, student_t, uncertainty
