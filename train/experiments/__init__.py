"""One file per run: a frozen config called CONFIG. The file's name is the run's name."""
