"""What studies share of what is trained, measured and computed."""
