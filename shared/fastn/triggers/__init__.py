"""What starts a workflow from outside: webhook triggers, their routes, and how a delivery is matched."""
