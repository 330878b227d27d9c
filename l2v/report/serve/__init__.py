"""The server of `l2v serve`: what is on disk, looked at in a browser."""
