"""The command line: arguments, tables, progress and JSON."""
