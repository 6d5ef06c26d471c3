"""What can go: smaller networks from trained ones, by rank, by pruning, by fewer values, and by codes."""
