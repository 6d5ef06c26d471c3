"""From mild to strong: the networks that each method of compression offers to the search."""
