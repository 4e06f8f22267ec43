"""Reports on raters, and noise that is like theirs."""
