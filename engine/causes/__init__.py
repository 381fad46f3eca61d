"""The catalogue: everything known about one cause stands in one file."""
