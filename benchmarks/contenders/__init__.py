"""What is measured side by side: each contender is a process that trains when it is told to."""
