"""All layers, as `keras.layers`; see `graphk.frontend.layers`."""
from graphk.frontend.layers import *                        # noqa: F401,F403
from graphk.frontend.layers import deserialize, serialize   # noqa: F401

_PLANNED = frozenset(("ConvLSTM2D",))


def __getattr__(name: str) -> object:
    """Say of a Keras layer that is not there yet that it is not, instead of failing like a misspelt name."""
    if name in _PLANNED:
        raise ImportError(f"the layer `{name}` of Keras is not in this version of graphk: recurrent "
                          "convolutions are still to come. "
                          f"graphk.layers has: {', '.join(sorted(_here()))}.")
    raise AttributeError(f"module 'graphk.layers' has no attribute {name!r}")


def _here() -> list[str]:
    return [k for k, v in globals().items() if isinstance(v, type) and k[0].isupper()]
