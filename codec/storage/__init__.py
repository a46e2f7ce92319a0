"""Storage: files on any fsspec file system, downloads, and redaction of credentials."""
