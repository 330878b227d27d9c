"""What l2v analyze writes: pictures and numbers of the states of two models."""
