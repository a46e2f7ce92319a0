"""One module for each command of `underpaint`."""
