"""The gym: labelled face crops in, members out."""
