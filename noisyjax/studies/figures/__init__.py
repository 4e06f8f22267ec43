"""The pictures of runs and studies."""
