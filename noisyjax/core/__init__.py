"""Array vocabulary, argument checks, the random-key policy and n-D primitives."""
