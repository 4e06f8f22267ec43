"""What is measured of a trained method, of its labels and of the noise in them."""
