"""What is changed in a face before training sees it."""
