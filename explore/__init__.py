"""The data looked at: what the files are, what is on them, how far detectors can be trusted, real beside fake."""
