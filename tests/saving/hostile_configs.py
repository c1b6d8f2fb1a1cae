"""Configs (JSON) that mean harm: what they name, how large they are, how they go round.

In: a path.  Out: a file of JSON, or a whole model where the training configuration does the harm.  What always holds:
nothing else is wrong with them.
"""
import base64
import json
import marshal
from pathlib import Path

import h5py

CODE = base64.b64encode(marshal.dumps(compile("open('escaped', 'w')", "f", "eval"))).decode()
HUGE = 10 ** 12


def text(value):
    """A case from a JSON value, or from text."""
    return "json", lambda path: Path(path).write_text(value if isinstance(value, str) else json.dumps(value))


def sequential(*layers):
    """A Sequential of layers (class, config); the first gets an input shape."""
    made = [{"class_name": cls, "config": dict(config)} for cls, config in layers]
    made[0]["config"].setdefault("batch_input_shape", [None, 4])
    return {"class_name": "Sequential", "config": {"name": "m", "layers": made}, "keras_version": "2.2.4"}


def layer(cls, **config):
    """A case of one layer."""
    return text(sequential((cls, config)))


def dense(**config):
    """A case of one Dense."""
    return layer("Dense", **{"units": 2, **config})


def functional(layers, outputs=("d",)):
    """A functional model: (name, class, config, inbound calls as lists of names)."""
    made = [{"name": "i", "class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 4]},
             "inbound_nodes": []}]
    made += [{"name": n, "class_name": cls, "config": {"name": n, **config},
              "inbound_nodes": [[[x, 0, 0, {}] for x in call] for call in calls]} for n, cls, config, calls in layers]
    return {"class_name": "Model", "config": {"name": "m", "layers": made, "input_layers": [["i", 0, 0]],
                                              "output_layers": [[n, 0, 0] for n in outputs]}}


def called(reference):
    """A Dense that is called on what `reference`, as JSON, says."""
    return text(json.dumps(functional([("d", "Dense", {"units": 2}, [["i"]])])).replace('["i", 0, 0, {}]', reference))


def trained(**training):
    """A whole model whose training configuration says this."""
    def make(path):
        from tests.saving.hostile_hdf5 import model
        model().save(path)
        with h5py.File(path, "a") as f:
            config = {**json.loads(f.attrs["training_config"]), **training}
            f.attrs["training_config"] = json.dumps(config)
    return "hdf5", make


def nested(depth):
    """Models in models, each of which calls the next one twice: 2 ** depth calls in a small file."""
    inner = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "Dense", "config": {"name": "d", "units": 4, "batch_input_shape": [None, 4]}}]}}
    for _ in range(depth):
        inner["name"], inner["inbound_nodes"] = "s", [[["i", 0, 0, {}]], [["i", 0, 0, {}]]]
        made = functional([("d", "Add", {}, [["i", "i"]])])
        made["config"]["layers"][1:1] = [inner]
        made["config"]["layers"][-1]["inbound_nodes"] = [[["s", 1, 0, {}], ["s", 2, 0, {}]]]
        made["config"]["name"] = "s"
        inner = made
    return inner


def in_each_other(cls, depth, key="layer"):
    """Wrappers in wrappers."""
    value = {"class_name": "Dense", "config": {"units": 1}}
    for _ in range(depth):
        value = {"class_name": cls, "config": {key: value}}
    return sequential((cls, {key: value, "batch_input_shape": [None, 3, 4]}))


def deep_lists(depth):
    """`{"class_name": "Sequential", "config": [[[…]]]}` as text, which json.dumps cannot make."""
    return '{"class_name": "Sequential", "config": ' + "[" * depth + "]" * depth + "}"


CASES = {
    # ---------------------------------------------------------------- what a config names
    "byte code in a Lambda": layer("Lambda", function=[CODE, None, None], function_type="lambda"),
    "byte code in a Lambda of Keras 3": layer("Lambda", function={"class_name": "__lambda__", "config": {
        "code": CODE, "defaults": None, "closure": None}}),
    "byte code for an output shape": layer("Lambda", function="f", function_type="function",
                                           output_shape=[CODE, None, None], output_shape_type="lambda"),
    "byte code with a module for its names": layer("Lambda", function=[CODE, None, None], function_type="lambda",
                                                   module="canary_of_graphk"),
    "a function of a module in a Lambda": layer("Lambda", function="f", function_type="function",
                                                module="canary_of_graphk"),
    "a function of os in a Lambda": layer("Lambda", function={"class_name": "function", "module": "os", "config":
                                                              "system", "registered_name": "system"}),
    "byte code in Keras 1's Merge": text(sequential(("Merge", {"mode": [CODE, None, None], "mode_type": "lambda",
                                                               "layers": []}))),
    "a class of os": text({"class_name": "os.system", "config": {"command": "touch escaped"}}),
    "a module beside the file": text({"module": "canary_of_graphk", "class_name": "f", "config": {},
                                      "registered_name": "f"}),
    "a layer of a module beside the file": text({**sequential(("f", {})), "module": "canary_of_graphk"}),
    "a registered name of builtins": text({"module": "builtins", "class_name": "eval", "config": "1",
                                           "registered_name": "builtins>eval"}),
    "a class of graphk's that is no layer": layer("Layer.__init__"),
    "a class with underscores": layer("__class__"),
    "an activation that is code": dense(activation="__import__('os').system('touch escaped')"),
    "an activation that is a module": dense(activation="os.system"),
    "an activation that is a name in its module": dense(activation="K"),
    "an activation of builtins": dense(activation={"module": "builtins", "class_name": "function", "config": "exec",
                                                   "registered_name": "exec"}),
    "an initializer of a module": dense(kernel_initializer={"module": "canary_of_graphk", "class_name": "f",
                                                            "config": {}, "registered_name": "f"}),
    "an initializer that is a name in its module": dense(kernel_initializer="get"),
    "a regularizer that is a class of os": dense(kernel_regularizer={"class_name": "os.system", "config": {}}),
    "a constraint that is no constraint": dense(kernel_constraint={"class_name": "deserialize", "config": {}}),
    "a dtype that is code": dense(dtype="(__import__('os').system('touch escaped'),)f4"),
    "a dtype of objects": dense(dtype="O"),
    "an array of objects": layer("Lambda", arguments={"class_name": "__numpy__", "config": {"value": [1],
                                                                                          "dtype": "O"}}),
    "arrays of another type's name": dense(units={"class_name": "__numpy__", "config": {"value": [[1]] * 9,
                                                                                       "dtype": "U999999999"}}),
    "a cell that is a class of os": layer("RNN", cell={"class_name": "os.system", "config": {}}),
    "a wrapped class of os": layer("TimeDistributed", layer={"class_name": "os.system", "config": {}}),
    "an optimizer that is a module": trained(optimizer_config={"class_name": "os.system", "config": {}}),
    "an optimizer that is a name in its module": trained(optimizer_config={"class_name": "get", "config": {}}),
    "a loss that is code": trained(loss="__import__('os').system('touch escaped')"),
    "a loss that is a name in its module": trained(loss="deserialize"),
    "a loss of a module": trained(loss={"module": "canary_of_graphk", "class_name": "function", "config": "f",
                                        "registered_name": "f"}),
    "metrics that are names in their module": trained(metrics=["K", "get", "inspect"]),
    # ---------------------------------------------------------------- how large it is
    "10**12 units": dense(units=HUGE),
    "10**400 units": dense(units=10 ** 400),
    "a number of 5,000 digits": text(json.dumps(sequential(("Dense", {"units": 1}))).replace(
        '"units": 1', '"units": ' + "9" * 5000)),
    "2**63 units": dense(units=2 ** 63),
    "-3 units": dense(units=-3),
    "units that are not a number": text(json.dumps(sequential(("Dense", {"units": 1}))).replace(
        '"units": 1', '"units": NaN')),
    "infinite units": text(json.dumps(sequential(("Dense", {"units": 1}))).replace('"units": 1', '"units": 1e999')),
    "2.5 units": dense(units=2.5),
    "units that are a list": dense(units=[2]),
    "an input of 10**12 features": dense(batch_input_shape=[None, HUGE]),
    "an input shape that is no number": text(json.dumps(sequential(("Dense", {"units": 1}))).replace(
        "[null, 4]", "[null, NaN]")),
    "an input of -4 features": dense(batch_input_shape=[None, -4]),
    "an input of 4,000 axes": dense(batch_input_shape=[None, *[1] * 4000]),
    "an input shape that is text": dense(batch_input_shape="none"),
    "filters and kernels beyond reason": layer("Conv2D", filters=HUGE, kernel_size=[HUGE, HUGE],
                                               batch_input_shape=[None, 8, 8, 1]),
    "strides of 0": layer("Conv2D", filters=1, kernel_size=[1, 1], strides=[0, 0], batch_input_shape=[None, 8, 8, 1]),
    "a padding of 10**12": layer("ZeroPadding2D", padding=[[HUGE, 0], [0, HUGE]], batch_input_shape=[None, 8, 8, 1]),
    "an image made 10**12 times as large": layer("UpSampling2D", size=[HUGE, HUGE], batch_input_shape=[None, 8, 8, 1]),
    "10**12 repetitions": layer("RepeatVector", n=HUGE),
    "10**400 repetitions": layer("RepeatVector", n=10 ** 400),
    "a table of 10**24 words": layer("Embedding", input_dim=HUGE, output_dim=HUGE),
    "a shape of 10**12": layer("Reshape", target_shape=[HUGE, -1]),
    "a shape with two unknowns": layer("Reshape", target_shape=[-1, -1]),
    "10**6 steps written out": layer("SimpleRNN", units=1, unroll=True, batch_input_shape=[None, 10 ** 6, 1]),
    "weights of 10**12 in a cell": layer("LSTM", units=10 ** 6, batch_input_shape=[None, 3, 10 ** 6]),
    "a hundred thousand layers": text(sequential(*[("Activation", {"activation": "relu"})] * 100_000)),
    "a hundred thousand calls": text(functional([("d", "Activation", {"activation": "relu"}, [["i"]] * 100_000)])),
    # ---------------------------------------------------------------- how it goes round
    "models that call models, 2**40 times": text(nested(40)),
    "models that call models, 2**17 times": text(nested(17)),
    "3,000 wrappers in each other": text(in_each_other("TimeDistributed", 200)),
    "cells in cells": text(in_each_other("RNN", 200, "cell")),
    "a hundred thousand brackets": text("[" * 100_000),
    "ten thousand brackets that close": text(deep_lists(10_000)),
    "nine hundred brackets that close": text(deep_lists(900)),
    "three hundred models in each other": text(json.dumps(sequential(("Sequential", {"layers": []}))).replace(
        "[]", '[{"class_name": "Sequential", "config": {"layers": ' * 300 + "[]" + "}}]" * 300)),
    "a layer that is its own input": text(functional([("d", "Dense", {"units": 2}, [["d"]])])),
    "layers that wait for each other": text(functional([("c", "Add", {}, [["i", "d"]]),
                                                        ("d", "Add", {}, [["i", "c"]])])),
    "an input that nobody makes": text(functional([("d", "Dense", {"units": 2}, [["none"]])])),
    "an output that nobody makes": text(functional([], ["none"])),
    "two layers of one name": text(functional([("d", "Dense", {"units": 2}, [["i"]])] * 2)),
    "calls counted from the end": called('["i", -1, -1, {}]'),
    "a call with a number beyond all": called('["i", 99999999999, 0, {}]'),
    "a call with arguments of Python's": called('["i", 0, 0, {"__class__": 1, "self": 2}]'),
    "a config that is its list": text({"class_name": "Model", "config": [[], {}]}),
    "a model without inputs": text({"class_name": "Model", "config": {"name": "m", "layers": [], "input_layers": [],
                                                                    "output_layers": []}}),
    "names that are no text": text({"class_name": ["Dense"], "config": {}}),
    "a name that climbs": dense(name="../../../../escaped"),
    "a name of a megabyte": dense(name="x" * (1 << 20)),
    "a name that is a list": dense(name=["x"]),
    "a name with zeros and directions": dense(name="a\0b\u202ec\ud800"),
    "keys that are there twice": text('{"class_name": "Sequential", "class_name": "os.system", "config": {}}'),
}
