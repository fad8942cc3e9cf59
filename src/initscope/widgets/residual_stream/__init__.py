"""The residual stream of a transformer bar by bar: what each branch adds, and the gradient."""
