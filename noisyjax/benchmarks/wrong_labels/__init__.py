"""Is an audit right? Labels made wrong on purpose, and how well each score finds them."""
