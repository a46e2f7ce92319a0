"""Reports on the palette chain: its picture, its cost in time, what its merge cost is worth."""
