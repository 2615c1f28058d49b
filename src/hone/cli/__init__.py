"""The command line: the table of verbs."""
