"""Who agrees with whom."""
