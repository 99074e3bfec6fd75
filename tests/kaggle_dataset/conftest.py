"""What the tests of the post office share."""

from tests.kaggle_dataset.post import post

__all__ = ["post"]
