"""Vendors on loopback: they stand in for the real ones on a laptop, and refuse what those refuse."""
