"""Archives as sources of other libraries' loaders, each on the library's public extension point."""
