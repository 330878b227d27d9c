"""The miniature benchmark; see docs.py."""
