"""Training with weights from a small set, one coordinate at a time."""
