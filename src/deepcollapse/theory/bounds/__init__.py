"""Both sides of the bounds on rank: what a network has, and what its training allows it."""
