"""Command-line entry points: parse, call, print."""
