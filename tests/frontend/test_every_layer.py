"""Every public layer class keeps the promises that all layers make; the cases are the table in `layers/`.

Checked on the oracle in float64: declared shapes, open sizes, other batch sizes, configs, weights, both phases,
gradients against central differences, Model and Sequential, masks, frozen layers, both layouts, states.  A public class
that no case names fails the first test.
"""
import copy
import inspect
import json
import re

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.utils.generic_utils import to_list
from graphk.models import Model, Sequential, clone_model, model_from_json

from tests.frontend.layers import CASES, fill, inputs, make, shapes, twice, wave

every = pytest.mark.parametrize("case", list(CASES))
# these must know the sizes of samples
FIXED = {"LocallyConnected1D", "LocallyConnected2D", "Flatten", "PReLU", "SReLU", "ParametricSoftplus"}
NOISE = re.compile(r"Dropout|Noise|dropout=")
# Base classes, what Input makes, and layers whose use is a warning.
# (Recurrent: what programs derive from.)
NO_CASE = {"Layer", "Wrapper", "InputLayer", "Merge", "Recurrent", "TimeDistributedDense"}


@pytest.fixture(autouse=True)
def on_the_oracle_in_float64(monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    K.set_floatx("float64")


def public_classes():
    return {v.__name__ for k, v in vars(L).items() if inspect.isclass(v) and issubclass(v, L.Layer) and k[0] != "_"}


def name_of(case):
    return case[:case.index("(")]


def unpacked(xs):
    return xs if len(xs) > 1 else xs[0]


class Built:
    """A layer on inputs of its own: what it takes, gives, weighs."""

    def __init__(self, case, batch=None, sizes=None, layer=None, **kwargs):
        self.case, self.layer = case, layer or make(L, case, **kwargs)
        self.x = [L.Input(batch_shape=(batch, *s)) for s in sizes or shapes(case)]
        y = self.layer(unpacked(self.x))
        self.y = to_list(y)
        fill(self.layer)
        self.f = K.function([*self.x, K.learning_phase()], self.y)

    def __call__(self, samples=2, phase=0):
        return self.f([*inputs(self.case, samples, "float64"), phase])


def same(a, b, **kwargs):
    assert len(a) == len(b)
    for p, q in zip(a, b):
        np.testing.assert_allclose(p, q, **{"rtol": 1e-9, "atol": 1e-11, **kwargs})


def fits(declared, shape):
    return len(declared) == len(shape) and all(d in (None, n) for d, n in zip(declared, shape))


def test_every_layer_has_a_case():
    named = set(re.findall(r"(\w+)\(", " ".join(CASES)))
    assert public_classes() - named - NO_CASE == set(), "give it a case in tests/frontend/layers/__init__.py"
    assert {name_of(c) for c in CASES} <= public_classes()


# ------------------------------------------------------------------ shapes
@every
def test_shapes_and_batches(case):
    it = Built(case)
    declared = it.layer.compute_output_shape(unpacked([(None, *s) for s in shapes(case)]))
    declared = declared if isinstance(declared, list) else [declared]
    assert declared == [K.int_shape(y) for y in it.y]
    few, many = it(2), it(5)
    for d, a, b in zip(declared, few, many):
        assert d[0] is None and None not in d[1:] and a.shape == (2, *d[1:]) and b.shape == (5, *d[1:])
    same(few, [b[:2] for b in many])


@pytest.mark.parametrize("case", [c for c in CASES if max(map(len, shapes(c))) > 1 and "Concatenate(axis" not in c])
def test_open_sizes(case):
    """Sizes that are open but for the channels."""
    it = Built(case)
    opened = [(*(None for _ in s[:-1]), s[-1]) for s in shapes(case)]
    if name_of(case) in FIXED or "unroll" in case or case == "BatchNormalization(1)":
        with pytest.raises(ValueError, match="defined|sizes|undefined"):
            Built(case, sizes=opened)
        return
    if case == "BatchNormalization(axis=1)":
        opened = [(3, None)]
    open_one = Built(case, sizes=opened)
    out = open_one(3)
    same(out, it(3))
    assert all(fits(K.int_shape(y), o.shape) for y, o in zip(open_one.y, out))


# ------------------------------------------------------------------ configs and weights
@every
def test_config_and_weights_go_around(case):
    it = Built(case)
    config = it.layer.get_config()
    stored = json.loads(json.dumps(config))
    twin = L.deserialize({"class_name": type(it.layer).__name__, "config": stored}, custom_objects={"twice": twice})
    assert json.loads(json.dumps(twin.get_config())) == stored
    other = Built(case, layer=twin)
    values = [wave(w.shape, 3.) ** 2 for w in it.layer.get_weights()]
    for layer in (it.layer, twin):
        layer.set_weights(values)
        same(layer.get_weights(), values)
    same(it(), other())
    with pytest.raises(ValueError, match="weight"):
        it.layer.set_weights([*values, np.zeros(1)] if not values else values[1:])


# ------------------------------------------------------------------ phases and gradients
@every
def test_gradients_are_central_differences(case):
    """Along one direction for inputs and weights together, in both phases if nothing random is drawn."""
    it = Built(case)
    loss = sum(K.sum(y * K.constant(wave((2, *K.int_shape(y)[1:])))) for y in it.y)
    given = inputs(case, 2, "float64")
    moved = [] if case.startswith("Embedding") else it.x
    weights = it.layer.trainable_weights
    if not moved and not weights:
        return
    f = K.function([*it.x, K.learning_phase()], [loss, *K.gradients(loss, [*moved, *weights])])
    for phase in (0,) if NOISE.search(case) else (0, 1):
        slope, way, size = 0., [], 1e-6
        for k, (g, v) in enumerate(zip(f([*given, phase])[1:], [*given[:len(moved)], *map(K.get_value, weights)])):
            assert g.shape == v.shape
            way.append(wave(v.shape, 1. + k))
            slope += (g * way[-1]).sum()
        values = [K.get_value(w) for w in weights]

        def at(step, phase=phase, way=way, values=values):
            for w, v, d in zip(weights, values, way[len(moved):]):
                K.set_value(w, v + step * d)
            xs = [x + step * d for x, d in zip(given, way)] if moved else given
            return f([*xs, phase])[0]
        difference = (at(size) - at(-size)) / (2 * size)
        at(0.)
        np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-6)


@every
def test_training_moves_the_weights_unless_frozen(case):
    for frozen in (False, True):
        it = Built(case)
        it.layer.trainable = not frozen
        model = Model(unpacked(it.x), unpacked(it.y))
        model.compile("sgd", "mse")
        x = inputs(case, 4, "float64")
        before = {w.name: K.get_value(w) for w in it.layer.weights}
        trained = {w.name for w in it.layer.trainable_weights}
        loss = np.sum(model.train_on_batch(x, [np.ones_like(y) for y in it.f([*x, 0])]))
        assert np.isfinite(loss)
        moved = {n for n, v in before.items() for w in it.layer.weights if w.name == n and (K.get_value(w) != v).any()}
        assert trained <= moved and (not frozen or not moved and not trained)
        assert len(it.layer.get_weights()) == len(before) == len(it.layer.weights)


@every
def test_half_precision(case):
    """float16 throughout, and what float64 gives but for the rounding."""
    want = Built(case)()
    K.set_floatx("float16")
    it = Built(case)
    got = it.f([*inputs(case, 2, "float16"), 0])
    assert all(y.dtype == np.float16 for y in got) and all(w.dtype == np.float16 for w in it.layer.get_weights())
    same(got, want, rtol=2e-2, atol=2e-2)


# ------------------------------------------------------------------ in models
@pytest.mark.parametrize("case", [c for c in CASES if len(shapes(c)) == 1 and "return_state" not in c])
def test_sequential_is_the_same(case):
    it = Built(case)
    model = Sequential([make(L, case, input_shape=shapes(case)[0])])
    fill(model.layers[0])
    assert model.output_shape == K.int_shape(it.y[0])
    same([model.predict(inputs(case, 3, "float64")[0], batch_size=2)], it(3))


@every
def test_models_of_it_are_copied(case):
    """As text, as a clone, deeply: each with weights of its own that give the same."""
    it = Built(case)
    model = Model(unpacked(it.x), unpacked(it.y))
    text = model_from_json(model.to_json(), custom_objects={"twice": twice})
    clone = clone_model(model)
    for other in (text, clone, copy.deepcopy(model)):
        other.set_weights(model.get_weights())
        same(to_list(other.predict(inputs(case, 3, "float64"))), it(3))
        assert not {id(w) for w in other.weights} & {id(w) for w in model.weights}


@pytest.mark.parametrize("case", [c for c in CASES if max(map(len, shapes(c))) > 1 and "Embedding" not in c])
def test_masks(case):
    """A layer that supports masks makes one that fits its output; Lambda drops it; others refuse by name."""
    layer = make(L, case)
    x = [L.Input(s) for s in shapes(case)]
    # a mask per step, as Masking makes it, wherever there are steps
    masked = [L.Masking(0.)(t) if len(s) > 1 else t for t, s in zip(x, shapes(case))]
    if "CuDNN" in case or "LSTM2D" in case:                # masks of pixels are not masks of steps
        with pytest.raises(ValueError, match="Masking is not supported for CuDNN|mask whole time steps"):
            layer(unpacked(masked))
        return
    refusing = getattr(layer, "layer", layer) if name_of(case) == "TimeDistributed" else layer
    if not refusing.supports_masking and name_of(case) != "Lambda":
        with pytest.raises(TypeError, match=f"Layer {refusing.name} does not support masking"):
            layer(unpacked(masked))
        return
    y = to_list(layer(unpacked(masked)))
    fill(layer)
    for t in y:
        if t._keras_mask is not None:
            out, mask = K.function(x, [t, t._keras_mask])(inputs(case, 3, "float64"))
            assert mask.dtype == bool and mask.shape == out.shape[:mask.ndim]


@pytest.mark.parametrize("case", [c for c in CASES if re.search("[23]D|Flatten", c)
                                  and not re.search("RNN|Local|Time", c)])
def test_layouts_agree(case):
    """channels_first is channels_last with the channels moved; the weights are the same."""
    last = Built(case, data_format="channels_last")
    (shape,) = shapes(case)
    at = 1 if "LSTM" in case else 0
    first = Built(case, data_format="channels_first", sizes=[(*shape[:at], shape[-1], *shape[at:-1])])
    first.layer.set_weights(last.layer.get_weights())
    x = inputs(case, 2, "float64")[0]
    (want,) = last.f([x, 0])
    (got,) = first.f([np.moveaxis(x, -1, 1 + at), 0])
    steps = want.ndim == 5 and at == 1
    if want.ndim > 2:
        got = np.moveaxis(got, 2 if steps else 1, -1)
    same([got], [want])


# ------------------------------------------------------------------ recurrence
@pytest.mark.parametrize("case", [c for c in CASES if re.search(r"^(Sim|GRU|LSTM|CuD|RNN|Conv[LR])", c)
                                  and "unroll" not in c and "backwards" not in c])
def test_stateful_layers_go_on(case):
    whole = Built(case)
    parts = Built(case, batch=2, sizes=[(None, *shapes(case)[0][1:])], stateful=True)
    parts.layer.set_weights(whole.layer.get_weights())
    model = Model(parts.x, parts.y)
    x = inputs(case, 2, "float64")[0]
    want = whole(2)
    for _ in range(2):
        model.predict(x[:, :1], batch_size=2)
        got = to_list(model.predict(x[:, 1:], batch_size=2))
        same(got, [w[:, 1:] if "return_seq" in case and i == 0 else w for i, w in enumerate(want)])
        parts.layer.reset_states()
