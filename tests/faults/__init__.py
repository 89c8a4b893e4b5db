"""The proof that nothing acknowledged is lost: the server killed at every step, raced, and left by its clients."""
