"""The deep unconstrained-features model: collapse, solutions of lower rank, and which of them wins."""
