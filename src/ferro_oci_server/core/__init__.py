"""What a registry does, for any way of carrying it and any place to keep it."""
