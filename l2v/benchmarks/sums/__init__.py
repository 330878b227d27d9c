"""Sums of one-digit terms; see docs.py."""
