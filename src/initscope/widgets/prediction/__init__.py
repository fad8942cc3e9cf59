"""A question that the reader answers before the answer is shown."""
