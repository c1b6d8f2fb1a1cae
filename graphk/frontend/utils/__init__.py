"""Helpers that user code calls: labels, scopes for custom objects, the progress bar."""
