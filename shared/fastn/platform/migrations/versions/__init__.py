"""One file per schema version; each runs the SQL file of its own name."""
