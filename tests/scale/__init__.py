"""How much collecting garbage costs in a large registry, and what it costs those who push and pull meanwhile."""
