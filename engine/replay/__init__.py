"""Replay: the user's program run again under the recorder with one thing changed, next to a placebo."""
