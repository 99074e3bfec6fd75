"""Videos decoded ahead of the networks, in processes of their own."""
