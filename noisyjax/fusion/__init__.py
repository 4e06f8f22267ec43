"""One label from several raters."""

from noisyjax.fusion.local import spatial_staple
from noisyjax.fusion.median import jaccard_median, jaccard_median_of_patterns
from noisyjax.fusion.pooled import pooled_staple, staple, staple_of_patterns
from noisyjax.fusion.rows import Fusion
from noisyjax.fusion.selection import simple, simple_of_patterns
from noisyjax.fusion.voting import decide, majority, mean

FUSIONS = {
    "staple": staple,
    "spatial_staple": spatial_staple,
    "simple": simple,
    "jaccard_median": jaccard_median,
}
