"""Recorded sweeps as a map over std and depth, width or training."""
