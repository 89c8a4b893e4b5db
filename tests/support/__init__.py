"""What several kinds of tests need: programs that run beside them, and the registry as one of these."""
