"""Looking back at runs: what ran, how far it is, what failed and why."""
