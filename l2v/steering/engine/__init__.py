"""Rows of many cells through one model, sharing what is equal."""
