"""From pairs of texts to one vector of the target's width. Plain torch and transformers; usable from a notebook."""
