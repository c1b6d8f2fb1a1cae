"""Models behind other packages' interfaces."""
from graphk.wrappers import scikit_learn

__all__ = ["scikit_learn"]
