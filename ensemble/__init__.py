"""Arrays and tables only: from logits of faces to one probability per video, and how good that is."""
