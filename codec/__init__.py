"""The layered Pentimento codec and its archive."""
