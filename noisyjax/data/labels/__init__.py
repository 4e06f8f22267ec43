"""What the labels of a case are: drawn, the raters' own, replaced, held back, fused."""
