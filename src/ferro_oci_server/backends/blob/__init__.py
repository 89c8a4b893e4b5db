"""Places that keep the bytes of blobs."""
