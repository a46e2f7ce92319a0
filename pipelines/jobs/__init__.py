"""Jobs: encode, decode and verify whole archives."""
