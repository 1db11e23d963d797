"""Figures of finished runs, as the papers argue with them; each is one function in a file of its name."""
