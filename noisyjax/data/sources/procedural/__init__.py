"""Data that are made on the spot: organs, mandibles, tumours."""
