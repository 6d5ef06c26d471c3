"""How claims are decided: what a claim is, the rules, and the evidence that they look at."""
