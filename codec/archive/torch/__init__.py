"""PyTorch data sets over an archive."""
