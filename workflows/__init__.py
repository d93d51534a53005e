"""What each verb does, as functions with typed parameters and results.

These bring the folders together. Nothing here parses a command line or prints; a notebook calls the
same functions that `cli` calls.
"""
