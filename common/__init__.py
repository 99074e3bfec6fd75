"""What every room needs and none owns: errors, files, the engine that runs networks, labels, text for pages."""
