"""Side-by-side timings against peers, on equal work."""
