"""What is optimal: theory's models of a trained classifier, each with its closed form and its certificate."""
