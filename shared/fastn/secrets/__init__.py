"""Secrets: envelope encryption with a data key per tenant, and masking of known values."""
