"""Events on their way in: received, kept in the outbox, relayed to the bus, routed to runs."""
