"""fastn.db: each tenant's own SQL database, one per environment."""
