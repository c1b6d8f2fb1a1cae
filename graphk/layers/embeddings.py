"""Keras's `layers.embeddings` module; see `graphk.frontend.layers.embeddings`."""
from graphk.frontend.layers.embeddings import *           # noqa: F401,F403
