"""Random networks, drawn one by one, and the log-normal law of what is left of a signal in them."""
