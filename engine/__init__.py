"""Measuring, storing, judging: everything between the hooks and the named cause."""
