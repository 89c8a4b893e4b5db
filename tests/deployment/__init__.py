"""What deploy/ has: checked by the linters of others, and tried, as far as that goes without a cluster."""
