"""Programs on the functional API: several inputs and outputs, shared and nested models."""
from __future__ import annotations

from typing import Any

import numpy as np

from . import classes, curve, data, one_hot, program, seed


@program
def two_inputs_two_outputs(keras: Any) -> dict[str, Any]:
    """The 'headline' example of the functional guide: an auxiliary output, losses and weights by name."""
    L = keras.layers
    main, aux = L.Input(shape=(6,), name="main_input"), L.Input(shape=(3,), name="aux_input")
    h = L.Dense(8, activation="relu", name="hidden")(main)
    aux_out = L.Dense(1, activation="sigmoid", name="aux_output")(h)
    x = L.concatenate([h, aux], name="joined")
    out = L.Dense(4, activation="softmax", name="main_output")(L.Dense(5, activation="tanh", name="deep")(x))
    model = keras.models.Model(inputs=[main, aux], outputs=[out, aux_out])
    seed(model)
    model.compile(optimizer=keras.optimizers.RMSprop(), metrics={"main_output": "acc", "aux_output": ["acc", "mse"]},
                  loss={"main_output": "categorical_crossentropy", "aux_output": "binary_crossentropy"},
                  loss_weights={"main_output": 1., "aux_output": .2})
    a, b = data(20, 6), data(20, 3)
    y = {"main_output": one_hot(classes(20, 4), 4), "aux_output": classes(20, 2)}
    h = model.fit({"main_input": a, "aux_input": b}, y, epochs=3, batch_size=5, shuffle=False, verbose=0)
    p = model.predict({"aux_input": b, "main_input": a}, batch_size=7)
    return {"history": curve(h), "p": p, "again": model.predict([a, b]),
            "evaluate": model.evaluate([a, b], [y["main_output"], y["aux_output"]], verbose=0, batch_size=20)}


@program
def siamese(keras: Any) -> dict[str, Any]:
    """A shared tower, the distance of its two outputs, and a contrastive loss."""
    L, K = keras.layers, keras.backend
    tower = keras.models.Sequential([L.Dense(6, activation="relu", input_shape=(4,), name="t1"),
                                     L.Dense(3, name="t2")], name="tower")

    def distance(pair: Any) -> Any:
        a, b = pair
        return K.sqrt(K.maximum(K.sum(K.square(a - b), axis=1, keepdims=True), K.epsilon()))

    def contrastive(y: Any, d: Any) -> Any:
        return K.mean(y * K.square(d) + (1 - y) * K.square(K.maximum(1 - d, 0)))

    def close(y: Any, d: Any) -> Any:
        return K.mean(K.equal(y, K.cast(d < .5, y.dtype)))
    a, b = L.Input((4,)), L.Input((4,))
    d = L.Lambda(distance, output_shape=lambda s: (s[0][0], 1), name="distance")([tower(a), tower(b)])
    model = keras.models.Model([a, b], d)
    seed(model)
    model.compile(loss=contrastive, optimizer=keras.optimizers.Adam(.01), metrics=[close])
    x1, x2, y = data(16, 4), data(16, 4, at=1), classes(16, 2).astype("float32")
    h = model.fit([x1, x2], y, batch_size=8, epochs=3, shuffle=False, verbose=0, validation_data=([x2, x1], y))
    return {"history": curve(h), "tower": tower.predict(x1), "d": model.predict([x1, x2])}


@program
def autoencoder(keras: Any) -> dict[str, Any]:
    """Encoder and decoder as models of their own that share the autoencoder's layers."""
    L, M = keras.layers, keras.models
    x = L.Input(shape=(8,))
    code = L.Dense(3, activation="relu", name="code")(x)
    back = L.Dense(8, activation="sigmoid", name="back")(code)
    auto, encoder = M.Model(x, back), M.Model(x, code)
    z = L.Input(shape=(3,))
    decoder = M.Model(z, auto.layers[-1](z))
    seed(auto)
    before = encoder.predict(data(5, 8))
    auto.compile(optimizer=keras.optimizers.Adadelta(1.), loss="binary_crossentropy")
    x = np.abs(data(12, 8)) % 1
    h = auto.fit(x, x, epochs=4, batch_size=5, shuffle=False, verbose=0, validation_data=(x[:5], x[:5]))
    c = encoder.predict(data(5, 8))
    return {"before": before, "after": c, "history": curve(h), "two": decoder.predict(c),
            "one": auto.predict(data(5, 8))}


@program
def nested_both_ways(keras: Any) -> dict[str, Any]:
    """A Sequential in a Model in a Sequential; the inner one also used twice."""
    L, M = keras.layers, keras.models
    inner = M.Sequential(name="inner")
    inner.add(L.Dense(5, activation="tanh", input_dim=4, name="i1"))
    inner.add(L.Dense(4, name="i2"))
    a = L.Input((4,))
    twice = inner(inner(a))
    middle = M.Model(a, L.add([twice, a], name="sum"), name="middle")
    outer = M.Sequential([middle, L.Activation("relu", name="act"), L.Dense(2, name="o")])
    seed(outer)
    outer.compile(keras.optimizers.SGD(.05, momentum=.9), "mse", metrics=["mae"])
    x, y = data(10, 4), data(10, 2)
    h = outer.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0)
    return {"history": curve(h), "inner": inner.predict(x), "middle": middle.predict(x), "outer": outer.predict(x),
            "count": [len(outer.get_weights()), outer.count_params(), len(middle.layers)]}


@program
def frozen_base_and_new_head(keras: Any) -> dict[str, Any]:
    """Transfer learning: train, pop the head, freeze the rest, put a new head on, train, thaw, train."""
    L, M = keras.layers, keras.models
    base = M.Sequential([L.Dense(6, activation="relu", input_shape=(5,), name="b1"),
                         L.Dense(4, activation="relu", name="b2"), L.Dense(3, activation="softmax", name="head")])
    seed(base)
    x, y = data(15, 5), one_hot(classes(15, 3), 3)
    base.compile(keras.optimizers.SGD(.1), "categorical_crossentropy")
    base.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    base.pop()
    for layer in base.layers:
        layer.trainable = False
    model = M.Sequential([base, L.Dense(2, activation="softmax", name="new")])
    seed(_only(model, 1))
    frozen = base.get_weights()
    model.compile(keras.optimizers.Adam(.05), "sparse_categorical_crossentropy", metrics=["acc"])
    h1 = model.fit(x, classes(15, 2), batch_size=5, epochs=2, shuffle=False, verbose=0)
    same = [float(np.abs(a - b).max()) for a, b in zip(frozen, base.get_weights())]
    for layer in base.layers:
        layer.trainable = True
    model.compile(keras.optimizers.SGD(.01), "sparse_categorical_crossentropy", metrics=["acc"])
    h2 = model.fit(x, classes(15, 2), batch_size=5, epochs=2, shuffle=False, verbose=0)
    return {"first": curve(h1), "second": curve(h2), "same": same, "p": model.predict(x),
            "trainable": [len(model.trainable_weights), len(model.non_trainable_weights)]}


class _only:
    """Stands for a model of one layer of `model`."""

    def __init__(self, model: Any, index: int):
        self.layers = [model.layers[index]]


@program
def gan(keras: Any) -> dict[str, Any]:
    """Alternate training of a discriminator and, through it frozen, of a generator."""
    L, M = keras.layers, keras.models
    g = M.Sequential([L.Dense(6, activation="relu", input_shape=(2,), name="g1"), L.Dense(4, name="g2")], name="g")
    d = M.Sequential([L.Dense(6, input_shape=(4,), name="d1"), L.LeakyReLU(.2),
                      L.Dense(1, activation="sigmoid", name="d2")], name="d")
    seed(g, d)
    d.compile(keras.optimizers.Adam(.01, beta_1=.5), "binary_crossentropy", metrics=["acc"])
    d.trainable = False
    z = L.Input((2,))
    both = M.Model(z, d(g(z)))
    both.compile(keras.optimizers.Adam(.01, beta_1=.5), "binary_crossentropy")
    losses = []
    for step in range(4):
        real, noise = data(6, 4, at=step), data(6, 2, at=step)
        fake = g.predict(noise)
        d.trainable = True
        out = [d.train_on_batch(real, np.ones((6, 1))), d.train_on_batch(fake, np.zeros((6, 1)))]
        d.trainable = False
        losses.append([*out, [both.train_on_batch(noise, np.ones((6, 1)))] * 2])
    return {"losses": losses, "g": g.get_weights(), "d": d.predict(data(3, 4))}


@program
def vae_add_loss(keras: Any) -> dict[str, Any]:
    """A variational autoencoder whose loss is added to the model, `loss=None`; its noise is an input."""
    L, K, M = keras.layers, keras.backend, keras.models
    x, eps = L.Input((6,), name="x"), L.Input((2,), name="eps")
    h = L.Dense(5, activation="relu", name="h")(x)
    mean, logvar = L.Dense(2, name="z_mean")(h), L.Dense(2, name="z_log_var")(h)
    z = L.Lambda(lambda t: t[0] + K.exp(t[1] / 2) * t[2], output_shape=(2,), name="z")([mean, logvar, eps])
    out = L.Dense(6, activation="sigmoid", name="out")(z)
    vae = M.Model([x, eps], out)
    rec = 6 * keras.losses.binary_crossentropy(x, out)
    kl = -.5 * K.sum(1 + logvar - K.square(mean) - K.exp(logvar), axis=-1)
    vae.add_loss(K.mean(rec + kl))
    seed(vae)
    vae.compile(optimizer=keras.optimizers.RMSprop(.01))
    a, e = np.abs(data(9, 6)) % 1, data(9, 2)
    h = vae.fit([a, e], epochs=3, batch_size=4, shuffle=False, verbose=0)
    return {"history": curve(h), "p": vae.predict([a, e]), "encoder": M.Model(x, mean).predict(a)}


@program
def merge_layers(keras: Any) -> dict[str, Any]:
    """Every merge layer in one graph, trained."""
    L = keras.layers
    a, b = L.Input((3, 4)), L.Input((3, 4))
    p, q = L.Dense(4, name="p")(a), L.Dense(4, name="q")(b)
    parts = [L.Add()([p, q]), L.Subtract()([p, q]), L.Multiply()([p, q]), L.Average()([p, q, a]),
             L.Maximum()([p, q]), L.Minimum()([p, q]), L.Dot(axes=(2, 2))([p, q]),
             L.Dot(axes=2, normalize=True)([p, q])]
    x = L.Concatenate(axis=-1)(parts)
    x = L.Permute((2, 1))(x)
    out = L.Dense(2, name="out")(L.Flatten()(x))
    model = keras.models.Model([a, b], out)
    seed(model)
    model.compile(keras.optimizers.SGD(.001), "mse")
    x = [data(7, 3, 4), data(7, 3, 4, at=1)]
    h = model.fit(x, data(7, 2), batch_size=3, epochs=2, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict(x)}


@program
def residual_blocks(keras: Any) -> dict[str, Any]:
    """Ten residual blocks of a small network, written as a loop."""
    L = keras.layers
    inp = x = L.Input((6,))
    for i in range(10):
        y = L.Dense(6, activation="relu", name="r%da" % i)(x)
        x = L.add([x, L.Dense(6, name="r%db" % i)(y)])
    model = keras.models.Model(inp, L.Dense(1, name="last")(L.Activation("tanh")(x)))
    seed(model)
    model.compile(keras.optimizers.Adam(.001, clipvalue=.5), "mae")
    h = model.fit(data(12, 6), data(12), batch_size=4, epochs=2, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict(data(3, 6))}


@program
def reused_layers_and_taps(keras: Any) -> dict[str, Any]:
    """One layer called on two inputs; intermediate outputs read by layer, by index and by node."""
    L, M = keras.layers, keras.models
    a, b = L.Input((3,)), L.Input((3,))
    shared = L.Dense(3, activation="tanh", name="shared")
    left, right = shared(a), shared(b)
    merged = L.concatenate([left, right])
    model = M.Model([a, b], [L.Dense(1, name="o1")(merged), L.Dense(2, name="o2")(left)])
    seed(model)
    x = [data(6, 3), data(6, 3, at=2)]
    taps = M.Model(model.inputs, [shared.get_output_at(0), shared.get_output_at(1), model.get_layer("o1").output])
    model.compile(keras.optimizers.SGD(.1), ["mse", "mae"], loss_weights=[.3, .7])
    steps = [model.train_on_batch(x, [data(6, 1), data(6, 2)]) for _ in range(3)]
    test = model.test_on_batch(x, [data(6, 1), data(6, 2)])
    return {"steps": steps, "test": test, "taps": taps.predict(x), "batch": model.predict_on_batch(x)}
