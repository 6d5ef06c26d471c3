"""The page of theory: what is optimal, drawn from plain tables that were worked out elsewhere."""
