"""Training: labelled face crops in, members out."""
