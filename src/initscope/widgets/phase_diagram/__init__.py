"""A phase diagram to point into: what becomes of two inputs, and what depth trains."""
