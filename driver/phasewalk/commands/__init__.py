"""The command line: the only room that picks a launcher."""
