"""What Relit's way to train saves, as ratios to straightforward ones that compute the same losses."""
