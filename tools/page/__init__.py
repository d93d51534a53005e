"""The web page in a real browser, for records and tests."""
