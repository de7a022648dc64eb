"""Organizations, their spaces, and the customers of each space."""
