"""The database schema: plain SQL, forward only, run as the owner of the tables."""
