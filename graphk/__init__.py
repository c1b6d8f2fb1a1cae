"""graphk."""
