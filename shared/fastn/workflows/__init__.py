"""Workflows: drafts, immutable versions, deployments, and which of them a call runs."""
