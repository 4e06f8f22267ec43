"""Predictions of any program, judged."""
