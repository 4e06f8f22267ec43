"""What people do with labels who train nothing: consensus, agreement, judging, simulation."""
