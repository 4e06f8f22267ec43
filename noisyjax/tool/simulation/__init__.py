"""Labels of simulated raters."""
