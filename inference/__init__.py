"""The kernel: videos in, one probability each, a validated submission out."""
