"""Upload, push and submit, by the real `kaggle` client."""
