"""Reports on the palette chain: its picture, its cost in time, the value of its merge costs."""
