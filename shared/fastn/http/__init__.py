"""How a function declares itself, and everything that is decided once for all of them."""
