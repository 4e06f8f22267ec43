"""One label from several raters."""

from noisyjax.fusion.local import spatial_staple
from noisyjax.fusion.pooled import pooled_staple, staple, staple_of_patterns
from noisyjax.fusion.rows import Fusion
from noisyjax.fusion.voting import majority, mean

FUSIONS = {"staple": staple, "spatial_staple": spatial_staple}
