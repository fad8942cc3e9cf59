"""Small networks that train on UCI Wine in the page."""
