"""What a Kaggle kernel needs, packed into one dataset."""
