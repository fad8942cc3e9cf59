"""The std of a weight matrix under AdamW, and where it settles."""
