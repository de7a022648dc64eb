"""Runs of workflows: created once, launched, recorded step by step, finished once."""
