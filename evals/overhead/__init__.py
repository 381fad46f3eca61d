"""What recording costs: the time of a step and the peak of memory, against the bare program and other tools."""
