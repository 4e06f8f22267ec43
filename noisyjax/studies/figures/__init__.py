"""The figures of runs and studies."""
