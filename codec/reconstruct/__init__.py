"""Reconstruction: from decoded symbols to pixels and latents, on a CPU or any torch device."""
