"""What the models say of a network that was measured, or of class counts that are given."""
