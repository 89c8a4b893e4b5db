"""Real clients, and the official conformance program, against the running registry. See docs/interop.md."""
