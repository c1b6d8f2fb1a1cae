"""Writes the numbers that the programs should give, computed by tf_keras: `python -m tests.frontend.programs.record`.

In: an environment with tf_keras; names of programs (none: all); `--out FILE`.  Out: `expected.json` beside this file,
or FILE, with numbers rounded to 7 digits.  What always
holds: tf_keras runs with TensorFlow's graphs, as Keras 2.2 did, and with its optimizers of that time.
"""
from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

HERE = pathlib.Path(__file__).parent


def peer() -> Any:
    """tf_keras as Keras 2.2 was."""
    import tensorflow as tf
    import tf_keras
    tf.compat.v1.disable_eager_execution()
    tf.compat.v1.experimental.output_all_intermediates(True)     # else gradients of its loops fail
    tf_keras.optimizers = tf_keras.optimizers.legacy
    return tf_keras


def rounded(x: Any) -> Any:
    """Numbers to 7 digits."""
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, list) else float("%.7g" % x)


def main(names: list[str], path: pathlib.Path) -> None:
    """Run the programs called `names` (all, if none), and write what they give to `path`."""
    from tests.frontend.programs import PROGRAMS, custom, flat, functional, recurrent, shapes, training  # noqa: F401
    keras = peer()
    out = json.loads(path.read_text()) if names and path.exists() else {}
    for name in names or PROGRAMS:
        keras.backend.clear_session()
        out[name] = rounded(flat(PROGRAMS[name](keras)))
    path.write_text(json.dumps(out, sort_keys=True, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    args = sys.argv[1:]
    at = args.index("--out") if "--out" in args else len(args)
    main(args[:at], pathlib.Path(args[at + 1]) if at < len(args) else HERE / "expected.json")
