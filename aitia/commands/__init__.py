"""One module per command; each imports what it needs when it is called, so that every other command starts quickly."""
