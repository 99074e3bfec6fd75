"""What the tests of the post office share."""

from tests.kaggle_dataset.post import post
from tests.kaggle_dataset.staging import dataset

__all__ = ["dataset", "post"]
