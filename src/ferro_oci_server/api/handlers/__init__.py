"""One function an endpoint: typed inputs, one call of one service, one response."""
