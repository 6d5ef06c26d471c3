"""What studies show: their charts, as plain data."""
