"""The recipe that makes weights from photos: count, fit, train, export."""
