"""The layered codec and its archive."""
