"""CLIP-RestoreX (AAAI 2025): exposure correction by a Restormer that restored CLIP priors modulate."""
