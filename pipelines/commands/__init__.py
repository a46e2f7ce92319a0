"""One module for each command of `pentimento`."""
