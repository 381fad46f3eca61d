"""From evidence to an answer: diagnosis in words, fix, regression test, journal entry."""
