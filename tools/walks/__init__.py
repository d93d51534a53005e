"""The documentation's first commands, walked word for word in a clean clone."""
