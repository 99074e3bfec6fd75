"""The kernel run here as Kaggle would run it."""
