"""The wavelet transform: subbands, lifting steps, fixed and learned, and colour rotation."""
