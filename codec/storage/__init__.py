"""Files on any fsspec store, downloads, and removing secrets from messages."""
