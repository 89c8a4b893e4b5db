"""The work: a module for each kind, whose ``run`` takes all rounds of it."""
