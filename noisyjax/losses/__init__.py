"""Losses: pure arithmetic on the arrays of one example; batches by ``jax.vmap``.

Every function returns a quantity to be minimised, unreduced over space where the formula allows it,
and leaves out what `where` or `rater_mask` leave out.

One rule for numbers that are none, here and in `noisyjax.metrics` where scores are compared
(`statistics`, `detection`): what counts shows, what does not count may be anything.

* NaN that counts makes the result NaN. So does what cannot be: a probability outside of ``[0, 1]``
  (logits given by mistake), a label that is no class. A run stops at such a loss.
* What is left out (`where`, `rater_mask`; labels that are `core.ignored.IGNORE`, targets that are
  zeros) changes neither value nor gradient, whatever stands there.
* Finite numbers of any size have a finite gradient, and half-precision images of any size a finite
  loss: sums are float32 at least.
"""

from noisyjax.losses import confusion, entropy, latent, overlap, student_t, uncertainty
