"""Places that keep all that a registry knows except the bytes of blobs."""
