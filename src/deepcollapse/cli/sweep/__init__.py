"""`deepcollapse sweep`: many runs, one file a sub-command."""
