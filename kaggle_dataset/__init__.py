"""Packaging and submission: packs code and members, runs the kernel offline, uploads, pushes and submits it."""
