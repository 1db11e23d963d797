"""A static HTML page about one finished run, or one that compares several."""
