"""The gallery: an archive as a page on this machine."""
