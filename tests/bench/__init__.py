"""What the benchmark makes of its figures. The benchmark itself is no test."""
