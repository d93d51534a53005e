"""The command line: parses, makes one call into `workflows`, prints what came back."""
