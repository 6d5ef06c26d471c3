"""`deepcollapse theory`: what is optimal for a loss, a decay and a balance of classes, one model a file."""
