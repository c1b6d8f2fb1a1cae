"""Sessions and graphs, by which scripts set TensorFlow up before they use Keras.

In: what `tf.ConfigProto` and `tf.Session` take.  Out: the session of `K.get_session`.  What always holds: there is one
session and one graph; settings are taken and have no effect, which a warning says.
"""
from __future__ import annotations

import contextlib
import warnings
from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.backend.session import Session
from graphk.frontend.first_values import FirstValues
from graphk.frontend.tensor import variables
from graphk.frontend.tf.names import NAMES, named


class Settings:
    """Settings of TensorFlow's: any name may be read and set, and is settings again.

    >>> config = Settings(allow_soft_placement=True)
    >>> config.gpu_options.allow_growth = True
    >>> config
    Settings(allow_soft_placement=True, gpu_options=Settings(allow_growth=True))
    """

    def __init__(self, **settings: Any):
        self.__dict__.update(settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__dict__.setdefault(name, Settings())

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


class Graph:
    """What `tf.get_default_graph()` is: a context in which nothing changes, as there is one graph."""

    def as_default(self) -> Any:
        """The context."""
        return contextlib.nullcontext(self)


_graph = Graph()
_ALL = ("global_variables_initializer", "initialize_all_variables")
for _name in ("ConfigProto", "GPUOptions", "RunOptions", "OptimizerOptions"):
    NAMES[_name] = Settings
named("get_default_graph")(lambda: _graph)
named("get_default_session")(lambda: K.get_session())
named("reset_default_graph")(lambda: K.clear_session())


for _name in ("global_variables_initializer", "initialize_all_variables", "local_variables_initializer",
              "tables_initializer"):
    named(_name)(lambda _name=_name: FirstValues(None if _name in _ALL else []))
named("variables_initializer")(lambda var_list: FirstValues(var_list))
named("global_variables", "all_variables")(lambda: variables())
named("trainable_variables")(lambda: [v for v in variables() if v.trainable])


@named("Session", "InteractiveSession")
def session(target: str = "", graph: Any = None, config: Any = None) -> Session:
    """The session of `K.get_session`; ValueError for another machine's, or for a graph of one's own."""
    if target or graph not in (None, _graph):
        raise ValueError(f"tf.Session runs graphk's one graph on this machine; received target={target!r}, "
                         f"graph={graph!r}. Several machines train together through graphk.distributed.")
    if config is not None:
        warnings.warn(f"tf.Session's settings have no effect: {config!r}. graphk takes memory as it needs it; its "
                      "threads and devices are set by GRAPHK_NUM_THREADS and GRAPHK_FLAGS=device=…", stacklevel=3)
    return K.get_session()
