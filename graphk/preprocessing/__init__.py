"""Data made ready for models: sequences, texts and images."""
from graphk.preprocessing import sequence, text

__all__ = ["sequence", "text"]
