"""Members that score a crop: the registry, their files, and the backends that run them."""
