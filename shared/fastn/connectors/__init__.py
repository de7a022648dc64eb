"""Connectors: what the platform knows about each vendor, and the calls it makes to them."""
