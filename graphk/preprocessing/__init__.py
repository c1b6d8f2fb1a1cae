"""Data made ready for models: sequences, texts and images."""
from graphk.preprocessing import image, sequence, text

__all__ = ["image", "sequence", "text"]
