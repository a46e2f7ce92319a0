"""Reading Parquet by exact byte ranges, with limits checked before anything is allocated."""
