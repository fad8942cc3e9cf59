"""A random network: what becomes of a signal and its gradient, layer by layer."""
