"""The command `dfdc`: parse, call, print; nothing else."""
