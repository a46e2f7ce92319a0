"""The wavelet transform: subbands, lifting steps and colour rotation."""
