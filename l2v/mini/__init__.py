"""A miniature world: trained models of one million parameters on which the whole pipeline can be run and judged."""
