"""Configs and states of every generation, written by hand as their Keras did."""
import json
import math

import h5py
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.saving.configs import modern, of_tensorflow
from graphk.frontend.saving.errors import GraphkFormatError
from graphk.frontend.saving.layer_folders import snake_case
from graphk.models import Model, Sequential, load_model, model_from_config, model_from_json, model_from_yaml

RNG = np.random.RandomState(0)


def only(cls, config, version="2.2.4"):
    """A layer's config made modern, and the texts of its problems."""
    made, problems = modern({"class_name": cls, "config": {"name": "it", **config}}, version)
    return made, [p.text for p in problems]


# ------------------------------------------------------------------ layers
@pytest.mark.parametrize("cls, config, version, want", [
    ("GRU", {"units": 2}, "2.0.8", {"reset_after": False}),
    ("GRU", {"units": 2, "reset_after": True}, "2.4.0", {"reset_after": True}),
    ("BatchNormalizationV1", {"axis": [3]}, "2.1.6-tf", {"axis": 3}),
    ("Embedding", {"input_dim": 3, "output_dim": 2, "dtype": "int32"}, "2.0.4", {"dtype": None}),
    ("Dense", {"units": 2, "activation": "hard_sigmoid"}, "3.1.0", {"activation": "hard_sigmoid_3"}),
    ("Dense", {"units": 2, "activation": "silu"}, "2.9.0", {"activation": "swish"}),
    ("Dense", {"units": 2, "activation": "hard_sigmoid"}, "2.9.0", {"activation": "hard_sigmoid"}),
    ("Dense", {"units": 2, "dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}}, "2.9.0",
     {"dtype": "float32"}),
    ("Dense", {"units": 2, "kernel_initializer": {"class_name": "GlorotUniformV2", "config": {"seed": None,
                                                                                              "dtype": "float32"}}},
     "2.2.4-tf", {"kernel_initializer": {"class_name": "VarianceScaling", "config": {
         "scale": 1., "mode": "fan_avg", "distribution": "uniform"}}}),
    ("Dense", {"units": 2, "kernel_regularizer": {"class_name": "L2", "config": {"l2": .1}}}, "2.9.0",
     {"kernel_regularizer": {"class_name": "L1L2", "config": {"l2": .1}}}),
    ("Dense", {"output_dim": 2, "init": "uniform", "W_regularizer": {"name": "WeightRegularizer", "l1": 0., "l2": .1},
               "b_constraint": {"name": "MaxNorm", "m": 3, "axis": 0}, "input_dim": 3}, "1.1.0",
     {"units": 2, "kernel_initializer": "uniform", "kernel_regularizer": {"class_name": "L1L2", "config": {
         "l1": 0., "l2": .1}}, "bias_constraint": {"class_name": "MaxNorm", "config": {"axis": 0, "max_value": 3}}}),
    ("Convolution2D", {"nb_filter": 4, "nb_row": 3, "nb_col": 2, "border_mode": "same", "subsample": [1, 2],
                       "dim_ordering": "th", "bias": True}, "1.2.2",
     {"filters": 4, "kernel_size": (3, 2), "padding": "same", "strides": [1, 2], "data_format": "channels_first"}),
    ("MaxPooling2D", {"pool_size": [2, 2], "border_mode": "valid", "dim_ordering": "tf"}, "1.2.2",
     {"padding": "valid", "data_format": "channels_last"}),
    ("LSTM", {"output_dim": 2, "inner_activation": "sigmoid", "forget_bias_init": "one", "consume_less": "gpu"},
     "1.0.4", {"units": 2, "recurrent_activation": "sigmoid", "unit_forget_bias": True, "implementation": 2}),
    ("Conv2D", {"filters": 1, "kernel_size": {"class_name": "__tuple__", "items": [3, 3]}, "groups": 1}, "2.9.0",
     {"kernel_size": (3, 3), "groups": None}),
    ("LeakyReLU", {"negative_slope": .3}, "3.0.0", {"alpha": .3}),
    ("InputLayer", {"batch_shape": [None, 3], "ragged": False, "optional": False}, "3.0.0",
     {"batch_input_shape": [None, 3]}),
    ("MaxNormless", {}, "2.2.4", None),
])
def test_layers(cls, config, version, want):
    made, problems = only(cls, config, version)
    if want is None:
        assert problems == [f"Unknown layer: {cls} (layer `it`)."]
        return
    assert not problems
    assert {k: made["config"].get(k) for k in want} == want
    L.deserialize(made)


@pytest.mark.parametrize("cls, config, says", [
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 2}, "groups=2"),
    ("Dense", {"units": 1, "lora_rank": 4}, "lora_rank=4"),
    ("BatchNormalization", {"axis": [1, 2]}, "several axes"),
    ("LocallyConnected1D", {"filters": 1, "kernel_size": 1, "implementation": 2}, "implementation"),
    ("Dense", {"units": 1, "activation": "<lambda>"}, "<lambda>"),
    ("InputLayer", {"batch_input_shape": [None], "dtype": "string"}, "string"),
    ("GlobalMaxPooling1D", {"keepdims": True}, "keepdims=True"),
])
def test_what_cannot_be_honoured_is_named(cls, config, says):
    _, problems = only(cls, config, "2.9.0")
    assert len(problems) == 1 and says in problems[0] and "`it`" in problems[0]


def test_wrappers_and_arrays():
    inner = {"class_name": "Dense", "config": {"name": "d", "units": 2, "bias_initializer": {
        "class_name": "Constant", "config": {"value": {"type": "ndarray", "value": [1., 2.]}}}}}
    made, problems = only("TimeDistributed", {"layer": inner})
    assert not problems
    value = made["config"]["layer"]["config"]["bias_initializer"]["config"]["value"]
    np.testing.assert_array_equal(value, [1., 2.])
    gru = {"class_name": "GRU", "config": {"name": "forward_g", "units": 2}}
    back = {"class_name": "GRU", "config": {"name": "backward_g", "units": 2, "go_backwards": True}}
    made, problems = only("Bidirectional", {"layer": gru, "backward_layer": back})
    assert not problems and made["config"]["layer"]["config"]["name"] == "g"
    back["config"]["units"] = 3
    assert "another than the forward one (units)" in only("Bidirectional", {"layer": gru, "backward_layer": back})[1][0]


def test_activations_of_other_keras():
    from graphk import activations
    x = np.linspace(-8, 8, 9).astype("float32")
    for name, want in (("swish", x / (1 + np.exp(-x))), ("relu6", np.clip(x, 0, 6)),
                       ("hard_sigmoid_3", np.clip(x / 6 + .5, 0, 1)),
                       ("hard_silu", x * np.clip(x / 6 + .5, 0, 1)), ("mish", x * np.tanh(np.log1p(np.exp(x)))),
                       ("gelu", [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in x.tolist()])):
        np.testing.assert_allclose(K.eval(activations.get(name)(K.constant(x))), want, rtol=1e-5, atol=1e-6)


def test_versions():
    assert [of_tensorflow(v) for v in ("2.1.6-tf", "2.2.4-tf", "2.3.1", "2.4.0", "2.15.0", "3.0.1", "1.2.2", "2")] == \
        [False, True, False, True, True, False, False, False]


def test_folders_are_named_as_keras_3_does():
    assert [snake_case(n) for n in ("Dense", "Conv2DTranspose", "PReLU", "GRUCell", "GlobalAveragePooling1D", "LSTM")] \
        == ["dense", "conv2d_transpose", "p_re_lu", "gru_cell", "global_average_pooling1d", "lstm"]


# ------------------------------------------------------------------ models
def test_sequential_of_keras_1_and_0():
    one = {"class_name": "Sequential", "keras_version": "1.0.3", "config": [
        {"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 3, "batch_input_shape": [None, 4],
                                           "activation": "relu", "W_regularizer": None, "input_dtype": "float32"}},
        {"class_name": "Dropout", "config": {"p": .5, "name": "dropout_1"}}]}
    zero = {"name": "Sequential", "loss": "mse", "layers": [
        {"name": "Dense", "custom_name": "dense", "output_dim": 3, "input_shape": [4], "activation": "relu",
         "cache_enabled": True, "W_constraint": None}, {"name": "Dropout", "custom_name": "dropout", "p": .5}]}
    for config in (one, zero):
        model = model_from_json(json.dumps(config))
        assert [type(la).__name__ for la in model.layers] == ["Dense", "Dropout"] and model.output_shape == (None, 3)
        assert model.layers[1].rate == .5


def test_weights_of_keras_0(tmp_path):
    model = Sequential([L.Dense(3, input_shape=(2,)), L.Dropout(.5), *[L.Dense(3) for _ in range(10)]])
    with h5py.File(tmp_path / "w.h5", "w") as f:
        for i, layer in enumerate(model.layers):
            group = f.create_group(f"layer_{i}")
            for j, a in enumerate(layer.get_weights()):
                group[f"param_{j}"] = a + i
    want = [a + i for i, layer in enumerate(model.layers) for a in layer.get_weights()]
    model.load_weights(tmp_path / "w.h5")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), want))


def test_yaml_of_keras_1_has_tuples():
    model = model_from_yaml("class_name: Sequential\nconfig:\n- class_name: Dense\n  config:\n    name: d\n"
                            "    output_dim: 2\n    batch_input_shape: !!python/tuple [null, 3]\n"
                            "    activation: !!python/unicode 'tanh'\n")
    assert model.output_shape == (None, 2)


def test_graphs_of_keras_0_are_models():
    dense = {"name": "Dense", "custom_name": "dense", "output_dim": 3, "activation": "relu"}
    graph = {"name": "Graph", "input_config": [{"name": "a", "input_shape": [4], "dtype": "float"},
                                               {"name": "b", "input_shape": [4], "dtype": "float"}],
             "nodes": {"left": dense, "right": dense, "top": {**dense, "output_dim": 1}},
             "node_config": [{"name": "left", "input": "a", "inputs": []},
                             {"name": "right", "input": "b", "inputs": []},
                             {"name": "top", "input": None, "inputs": ["left", "right"], "merge_mode": "sum"}],
             "output_config": [{"name": "out", "input": "top", "inputs": []}]}
    with pytest.warns(UserWarning, match="Merge"):
        model = model_from_json(json.dumps(graph))
    assert model.input_names == ["a", "b"] and model.output_shape == (None, 1)


def test_calls_of_nested_models_may_count_from_0():
    inner = Sequential([L.Dense(2, input_shape=(3,))], name="inner")
    a, b = L.Input((3,)), L.Input((3,))
    config = {"class_name": "Functional", "config": Model([a, b], L.concatenate([inner(a), inner(b)])).get_config()}
    for entry in config["config"]["layers"][-1]["inbound_nodes"][0]:
        assert entry[1] in (1, 2)
        entry[1] -= 1
    assert model_from_config(config).output_shape == (None, 4)


def test_the_callers_objects_may_be_registered():
    class Twice(L.Layer):
        def call(self, x):
            return x * 2
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 2], "name": "i"},
         "registered_name": None},
        {"module": None, "class_name": "Twice", "config": {"name": "t", "dtype": {
            "module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}},
         "registered_name": "mine>Twice"}]}, "keras_version": "3.0.0"}
    for name in ("Twice", "mine>Twice"):
        assert model_from_config(config, {name: Twice}).predict(np.ones((1, 2))).tolist() == [[2., 2.]]
    with pytest.raises(GraphkFormatError, match=r"custom_objects=\{'Twice': Twice\}"):
        model_from_config(config)


def test_operations_of_keras_3_are_not_layers():
    data = {"module": "keras.src.ops.numpy", "class_name": "Add", "config": {"name": "add"}}
    assert "keras.src.ops.numpy.Add" in modern(data, "3.0.0")[1][0].text


# ------------------------------------------------------------------ states of optimizers
def trained(optimizer="adam"):
    model = Sequential([L.Dense(3, name="b", input_shape=(2,)), L.Dense(3, name="a"), L.Dense(1, name="c")])
    model.compile(optimizer, "mse")
    for _ in range(3):
        model.train_on_batch(RNG.rand(8, 2), RNG.rand(8, 1))
    return model


def rewritten(path, model, version, state):
    """A file of `model` whose optimizer's state is what `state(names of weights, arrays)` makes of it."""
    model.save(path)
    with h5py.File(path, "a") as f:
        f.attrs["keras_version"] = f["model_weights"].attrs["keras_version"] = version
        del f["optimizer_weights"]
        group = f.create_group("optimizer_weights")
        named = state([w.name for w in model.trainable_weights], model.optimizer.get_weights())
        group.attrs["weight_names"] = np.array([n.encode() for n, _ in named])
        for name, array in named:
            group[name] = array
    return path


def sorted_by_name(names, arrays):
    order, n = sorted(range(len(names)), key=names.__getitem__), len(names)
    slots = [arrays[1 + k * n + i] for k in range(2) for i in order]
    return [(f"Variable_{i}:0", a) for i, a in enumerate([arrays[0].astype("float32"), *slots])]


def by_weight(names, arrays):
    n = len(names)
    named = [("training/Adam/iter:0", arrays[0])]
    return named + [(f"training/Adam/{names[i][:-2]}/{'mv'[k]}:0", arrays[1 + k * n + i])
                    for i in reversed(range(n)) for k in range(2)]


def kinds_first(names, arrays):
    n = len(names)
    return [("iteration:0", arrays[0])] + [(f"Adam/{'mv'[k]}/{names[i]}", arrays[1 + k * n + i])
                                           for k in range(2) for i in range(n)]


def without_placeholders(names, arrays):
    return [(f"Variable_{i}:0", a) for i, a in enumerate(arrays[:1 + 2 * len(names)])]


@pytest.mark.parametrize("version, state", [
    ("2.0.4", sorted_by_name), ("1.2.2", sorted_by_name), ("2.2.4-tf", by_weight), ("2.13.0", kinds_first),
    ("2.0.8", without_placeholders)])
def test_states_go_on_bit_for_bit(tmp_path, version, state):
    model = trained()
    again = load_model(rewritten(tmp_path / "m.h5", model, version, state))
    assert all(np.array_equal(a, b) for a, b in zip(model.optimizer.get_weights(), again.optimizer.get_weights()))
    x, y = RNG.rand(8, 2), RNG.rand(8, 1)
    assert model.train_on_batch(x, y) == again.train_on_batch(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights()))


def test_rmsprop_with_its_steps(tmp_path):
    model = trained("rmsprop")
    path = rewritten(tmp_path / "m.h5", model, "2.3.1", lambda names, arrays: [
        ("it:0", np.array(3)), *((f"v{i}:0", a) for i, a in enumerate(arrays))])
    again = load_model(path)
    assert K.get_value(again.optimizer.iterations) == 3
    assert all(np.array_equal(a, b) for a, b in zip(model.optimizer.get_weights(), again.optimizer.get_weights()))


@pytest.mark.parametrize("state, says", [
    (lambda names, arrays: [(f"v{i}", a) for i, a in enumerate(arrays[1:])], "number of steps"),
    (lambda names, arrays: [(f"v{i}", a) for i, a in enumerate(arrays[:-8])], "for 6 weights with 2 each"),
    (lambda names, arrays: [(f"v{i}", a.T) for i, a in enumerate(arrays)], "expected"),
])
def test_states_that_do_not_fit_are_named(tmp_path, state, says):
    path = rewritten(tmp_path / "m.h5", trained(), "2.2.4", state)
    with pytest.warns(UserWarning, match=says):
        model = load_model(path)
    assert K.get_value(model.optimizer.iterations) == 0


# ------------------------------------------------------------------ training configurations
def compiled(tmp_path, version="2.9.0", **changes):
    path = tmp_path / "m.h5"
    trained().save(path)
    with h5py.File(path, "a") as f:
        f.attrs["keras_version"] = f["model_weights"].attrs["keras_version"] = version
        given = json.loads(f.attrs["training_config"])
        given["optimizer_config"]["config"].update(changes.pop("optimizer", {}))
        f.attrs["training_config"] = json.dumps({**given, **changes})
    return path


def test_objects_of_losses_and_metrics(tmp_path):
    path = compiled(tmp_path, loss={"class_name": "MeanAbsoluteError", "config": {"reduction": "auto", "name": "m"}},
                    metrics=[[{"class_name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "binary_accuracy"}},
                              {"class_name": "CosineSimilarity", "config": {"name": "c"}}]],
                    optimizer={"learning_rate": .5, "name": "Adam", "weight_decay": None, "use_ema": False, "lr": None,
                               "clipnorm": 1.})
    model = load_model(path)
    assert model.loss == "mean_absolute_error" and model.metrics == ["accuracy", "cosine_proximity"]
    assert K.get_value(model.optimizer.lr) == .5 and model.optimizer.clipnorm_each == 1.
    assert not hasattr(model.optimizer, "clipnorm")


@pytest.mark.parametrize("changes, says", [
    ({"optimizer": {"weight_decay": .1}}, "weight_decay=0.1"),
    ({"loss": {"class_name": "Dice", "config": {}}}, "Dice"),
    ({"loss": {"class_name": "BinaryCrossentropy", "config": {"from_logits": True, "axis": 1}}}, "axis=1"),
    ({"loss": {"class_name": "MeanSquaredError", "config": {"reduction": "mean_with_sample_weight"}}}, "reduction="),
    ({"optimizer": {"learning_rate": {"class_name": "CosineDecay", "config": {}}}}, "CosineDecay"),
])
def test_what_cannot_be_compiled_is_named(tmp_path, changes, says):
    with pytest.warns(UserWarning, match=f"not.* compiled: .*{says}"):
        assert not getattr(load_model(compiled(tmp_path, **changes)), "optimizer", None)


def test_settings_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(GraphkFormatError, match="training_config"):
        load_model(compiled(tmp_path, optimizer={"epsilon": {}}))


def test_metrics_that_graphk_does_not_have(tmp_path):
    with pytest.warns(UserWarning, match="metrics R2Score do not exist"):
        model = load_model(compiled(tmp_path, metrics=["mae", {"class_name": "R2Score", "config": {"name": "r"}}]))
    assert model.metrics == ["mae"]


def test_losses_and_metrics_with_settings(tmp_path):
    loss = {"class_name": "BinaryCrossentropy", "config": {"from_logits": True, "label_smoothing": .1, "axis": -1,
                                                           "reduction": "auto", "name": "b", "fn": "x"}}
    metrics = ["mae", {"class_name": "AUC", "config": {"name": "auc", "num_thresholds": 5, "dtype": "float32"}}]
    model = load_model(compiled(tmp_path, loss=loss, metrics=metrics))
    assert (model.loss.settings, model.metrics[1].name) == ({"from_logits": True, "label_smoothing": .1}, "auc")
    model.save(tmp_path / "again.h5")
    again = load_model(tmp_path / "again.h5")
    x, y = RNG.rand(8, *model.input_shape[1:]), RNG.randint(0, 2, (8, *model.output_shape[1:]))
    assert model.evaluate(x, y, verbose=0) == again.evaluate(x, y, verbose=0)
    assert load_model(compiled(tmp_path, loss="huber")).loss == "huber_loss"


def test_a_schedule_that_is_a_decay(tmp_path):
    rate = {"class_name": "InverseTimeDecay", "config": {"initial_learning_rate": .1, "decay_rate": .5,
                                                         "decay_steps": 10, "staircase": False}}
    model = load_model(compiled(tmp_path, optimizer={"learning_rate": rate, "lr": None, "decay": None}))
    assert model.optimizer.initial_decay == .05


def test_each_gradient_is_clipped():
    from graphk.optimizers import SGD
    x, y = RNG.rand(8, 2), 100 * RNG.rand(8, 1)
    model = trained(SGD(1., clipnorm_each=.5))
    before = model.get_weights()
    model.train_on_batch(x, y)
    moved = [np.sqrt(((a - b) ** 2).sum()) for a, b in zip(before, model.get_weights())]
    assert all(m == pytest.approx(.5, rel=1e-4) for m in moved if m > 0) and max(moved) > 0
