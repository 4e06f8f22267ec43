"""A paper's table as a grid of runs: the cells, their table, their figures."""
