"""What every domain stands on: database, AWS clients, settings, clock, ids, observability, egress."""
