"""What every room needs and none owns: errors, files, devices, the engine that runs networks, labels, HTML."""

__version__ = "0.1.0"  # the one place that states it: pyproject.toml and `dfdc --version` read it here
