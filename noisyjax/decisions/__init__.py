"""From probabilities to segmentations, and to sets that cover the truth with a guarantee."""

from noisyjax.decisions.guarantees import conformal_quantile, dilations_to_cover, risk_control
from noisyjax.decisions.marginal import (
    DECISIONS,
    VOXELWISE,
    accuracy_optimal,
    decide,
    dice_optimal,
    dice_optimal_threshold,
    expected_dice,
)
