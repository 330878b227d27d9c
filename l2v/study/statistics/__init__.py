"""What may be said of a study's figures: intervals, paired tests, searches, power."""
