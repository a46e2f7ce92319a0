"""Beam transforms over the codec: read, decode, batch, encode, write, dead-letter."""
