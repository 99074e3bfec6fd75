"""Who judges a crop: members, their checkpoints, and the backends that run them."""
