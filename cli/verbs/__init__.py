"""One module a verb: its arguments, its one call into `workflows`, what it prints."""
