"""The recorder: hooks in, measurements out, inside the user's process. Importing this package imports no torch."""
