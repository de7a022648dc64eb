"""The JavaScript engine: runs one workflow program per WebAssembly instance, one step at a time."""
