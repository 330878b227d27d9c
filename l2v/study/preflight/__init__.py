"""`l2v preflight`: everything that would stop a cell, found before a weight is loaded."""
