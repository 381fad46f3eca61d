"""The run directory: what is kept, how it is written, how it is read. No torch here."""
