"""Face crops on disk: their files, their keys and the cache."""
