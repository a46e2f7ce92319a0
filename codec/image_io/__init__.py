"""Reading pictures: formats, headers, orientation and colour profiles."""
