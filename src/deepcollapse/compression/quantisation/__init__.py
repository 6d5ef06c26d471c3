"""Weights that take few values: shared, drawn, rounded, or few for their entropy."""
