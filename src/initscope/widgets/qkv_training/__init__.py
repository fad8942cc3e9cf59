"""Q, K and V through recorded training runs."""
