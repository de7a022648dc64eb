"""Connections: a customer's credentials for a connector, encrypted, one set per environment and name."""
