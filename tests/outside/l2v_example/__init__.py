"""What somebody adds to an installed l2v: an arm, a scorer and a benchmark, and not a line in the package."""
