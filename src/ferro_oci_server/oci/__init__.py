"""What the OCI documents say, as values: no input or output, nothing asynchronous, no toolkit."""
