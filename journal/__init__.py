"""The memory of past incidents: one Markdown file each, an index, and search."""
