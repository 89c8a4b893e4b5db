"""Places that keep a registry's content. None knows another."""
