"""Requests that no client sends, and the answers that they must get."""
