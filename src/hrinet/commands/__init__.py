"""The command line: parses arguments, hands them on, holds no logic."""
