"""How much work each video may cost, so that a run ends in time."""
