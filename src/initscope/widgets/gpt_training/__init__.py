"""A GPT that is pretrained in the page."""
