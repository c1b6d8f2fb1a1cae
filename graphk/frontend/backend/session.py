"""What scripts written for TensorFlow ask `K` for: a session that runs tensors, the number of GPUs, flags.

In: tensors, and arrays by placeholder.  Out: arrays.  What always holds: there is one session and it has no state of
its own: it runs what `K.function` would, and remembers the functions it has compiled.
"""
from __future__ import annotations

from typing import Any, Mapping

from graphk.frontend.first_values import FirstValues, Step
from graphk.frontend.function import Function
from graphk.frontend.tensor import Update, node_of


class Session:
    """What `K.get_session` returns: `run` computes tensors from values of placeholders.

    >>> from graphk import backend as K
    >>> x = K.placeholder((None,))
    >>> K.get_session().run([x + 1, K.sum(x)], {x: [1., 2.]})
    [array([2., 3.], dtype=float32), array(3., dtype=float32)]
    """

    def __init__(self) -> None:
        self._functions: dict[Any, Function] = {}

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """The values of a tensor, or of lists and dicts of tensors and updates; None for `FirstValues` and `Step`,
        which have none.   `feed_dict` gives arrays by placeholder (`K.learning_phase()` may be among them)."""
        feeds = dict(feed_dict or {})
        wanted: list[Any] = []

        def collect(x: Any) -> Any:
            """`x`, with the place of its value for each tensor."""
            if isinstance(x, dict):
                return {k: collect(v) for k, v in x.items()}
            if isinstance(x, (list, tuple)) and not isinstance(x, Update):
                return [collect(v) for v in x]
            if isinstance(x, FirstValues):
                x.run()
                return None
            wanted.extend(x.updates if isinstance(x, Step) else [x])
            return None if isinstance(x, Step) else len(wanted) - 1
        form = collect(fetches)
        if not wanted:
            return form
        key = (tuple(node_of(x) for x in feeds), tuple(x if isinstance(x, Update) else node_of(x) for x in wanted))
        if key not in self._functions:
            self._functions[key] = Function(list(feeds), wanted, name="session")
        out = self._functions[key](list(feeds.values()))

        def placed(form: Any) -> Any:
            if isinstance(form, dict):
                return {k: placed(v) for k, v in form.items()}
            return [placed(f) for f in form] if isinstance(form, list) else None if form is None else out[form]
        return placed(form)

    def close(self) -> None:
        """Forget what was compiled."""
        self._functions.clear()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()

    def as_default(self) -> "Session":
        """A context in which this is the session, which it is anyway."""
        return self


_session = Session()


def get_session() -> Session:
    """The session: `K.get_session().run(outputs, {placeholder: array})` is `K.function` and its call in one.

    >>> from graphk import backend as K
    >>> float(K.get_session().run(K.constant(2.) * 3))
    6.0
    """
    return _session


def set_session(session: Any) -> None:
    """Accepted for scripts that hand Keras the session they configured, `K.tf.Session()`; TypeError for others.

    >>> K.set_session(K.get_session())
    """
    if not isinstance(session, Session):
        raise TypeError(f"K.set_session takes the session that K.get_session() and K.tf.Session() return; received "
                        f"{session!r:.80}. graphk runs no sessions of TensorFlow's.")


def symbolic(func: Any) -> Any:
    """Keras 2.3's decorator of functions that build graphs, `get_updates` of optimizers among them: here all do.

    >>> K.symbolic(len) is len
    True
    """
    return func


def manual_variable_initialization(value: bool) -> None:
    """Accepted for scripts that set it: a graphk variable has its first value from the start, whatever `value` is.

    >>> from graphk import backend as K
    >>> K.manual_variable_initialization(True)
    >>> K.eval(K.ones((2,))).tolist()
    [1.0, 1.0]
    >>> K.manual_variable_initialization(False)
    """


def _get_available_gpus() -> list[str]:
    """The names of the GPUs that graphk may use."""
    from graphk.runtime.device import gpu_count
    return [f"/device:GPU:{i}" for i in range(gpu_count())]


__all__ = ["get_session", "set_session", "symbolic", "manual_variable_initialization"]
