"""The `fastn` command."""
