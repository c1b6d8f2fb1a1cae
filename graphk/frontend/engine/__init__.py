"""Layers, networks and training: what Keras calls the engine."""
