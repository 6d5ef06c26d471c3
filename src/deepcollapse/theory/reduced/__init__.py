"""Models of classes in groups of equal count, reduced by symmetry to a few numbers a group, and solved there."""
