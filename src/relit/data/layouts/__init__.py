"""Published data sets as they lie on disk, one per file."""
