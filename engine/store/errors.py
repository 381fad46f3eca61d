"""What can go wrong between a user and a run directory.

```
AitiaError                 every error that a person can do something about; its text says what
├── RunNotFound            no such run, or no run at all under this root
├── RunUnreadable          the directory is there, but it is no run, or an empty or damaged one
└── RunTooNew              written by a newer aitia: upgrade
```
"""

from __future__ import annotations


class AitiaError(Exception):
    """Base of the errors that are shown as one line."""

    exit_code = 2


class RunNotFound(AitiaError):
    """No run of that name."""


class RunUnreadable(AitiaError):
    """A directory that is not (or not any more) a run."""


class RunTooNew(AitiaError):
    """A run written with a newer schema than this version knows."""
