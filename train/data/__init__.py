"""What training reads: face crops out of videos, folds, and what is known of them."""
