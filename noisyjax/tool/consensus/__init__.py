"""One label from several raters."""
