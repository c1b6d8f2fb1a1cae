"""Programs whose models have unusual inputs and outputs: images, one unit, open lengths, many small layers."""
from __future__ import annotations

from typing import Any

import numpy as np

from . import classes, curve, data, one_hot, program, seed


@program
def images_flattened(keras: Any) -> dict[str, Any]:
    """Byte images through Flatten, Reshape, Permute, and dense layers with max-norm."""
    L = keras.layers
    model = keras.models.Sequential([
        L.Lambda(lambda x: x / 127.5 - 1., input_shape=(4, 4, 3), output_shape=(4, 4, 3)), L.Permute((3, 1, 2)),
        L.Reshape((3, 16)), L.Dense(5, activation="relu", name="rows"), L.Flatten(),
        L.Dense(6, kernel_constraint=keras.constraints.MaxNorm(1.), activation="relu", name="wide"),
        L.Dense(3, name="logits"), L.Activation("softmax")])
    seed(model)
    model.compile(keras.optimizers.SGD(.05, momentum=.9, nesterov=True), "categorical_crossentropy", metrics=["acc"])
    x = np.random.RandomState(0).randint(0, 256, (12, 4, 4, 3)).astype("uint8")
    h = model.fit(x, one_hot(classes(12, 3), 3), batch_size=6, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict(x, batch_size=5)}


@program
def one_unit_everywhere(keras: Any) -> dict[str, Any]:
    """Layers of one unit, clipped by norm of single gradients, one sample per batch."""
    L = keras.layers
    model = keras.models.Sequential([L.Dense(1, input_dim=1, activation="tanh", name="one"), L.Dense(1, name="two")])
    seed(model)
    model.compile(keras.optimizers.Adam(.1, clipvalue=.1), "mse", metrics=["mae"])
    x = np.linspace(-1, 1, 7)
    h = model.fit(x, x ** 2, batch_size=1, epochs=2, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict(x), "one": model.predict(x[:1])}


@program
def open_lengths(keras: Any) -> dict[str, Any]:
    """Sequences of any length, pooled by attention: softmax scores over time."""
    L, K = keras.layers, keras.backend
    x = L.Input((None, 3))
    h = L.Dense(4, activation="tanh", name="h")(x)
    scores = L.Dense(1, use_bias=False, name="scores")(h)
    weights = L.Lambda(lambda s: K.softmax(K.squeeze(s, -1)), output_shape=lambda s: (s[0], s[1]))(scores)
    pooled = L.Lambda(lambda t: K.batch_dot(K.expand_dims(t[0], 1), t[1])[:, 0], output_shape=(4,))([weights, h])
    model = keras.models.Model(x, L.Dense(2, activation="softmax", name="out")(pooled))
    seed(model)
    model.compile(keras.optimizers.RMSprop(.01), "sparse_categorical_crossentropy")
    steps = [float(np.mean(model.train_on_batch(data(4, n, 3), classes(4, 2)))) for n in (5, 2, 9, 1)]
    return {"steps": steps, "p": [model.predict(data(3, n, 3)) for n in (1, 4)]}


@program
def mixture_density(keras: Any) -> dict[str, Any]:
    """A loss that takes its output apart: mixture weights, means and deviations."""
    L, K = keras.layers, keras.backend
    x = L.Input((2,))
    h = L.Dense(6, activation="tanh", name="h")(x)
    out = L.concatenate([L.Dense(3, activation="softmax", name="pi")(h), L.Dense(3, name="mu")(h),
                         L.Dense(3, activation="softplus", name="sigma")(h)])

    def nll(y: Any, p: Any) -> Any:
        pi, mu, sigma = p[:, :3], p[:, 3:6], p[:, 6:] + .1
        density = pi * K.exp(-K.square((y[:, :1] - mu) / sigma) / 2.) / sigma
        return -K.log(K.sum(density, axis=-1) + K.epsilon())
    model = keras.models.Model(x, out)
    seed(model)
    model.compile(keras.optimizers.Adam(.02), nll)
    h = model.fit(data(10, 2), np.repeat(data(10, 1), 9, 1), batch_size=5, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict(data(2, 2))}


@program
def triplets(keras: Any) -> dict[str, Any]:
    """A triplet loss on stacked embeddings, with L2-normalized outputs and a shared tower; targets are ignored."""
    L, K = keras.layers, keras.backend
    tower = keras.models.Sequential([L.Dense(5, activation="relu", input_shape=(4,), name="e1"),
                                     L.Dense(3, name="e2"), L.Lambda(lambda t: K.l2_normalize(t, axis=1))])
    inputs = [L.Input((4,)) for _ in range(3)]
    stacked = L.Lambda(lambda t: K.stack(t, axis=1), output_shape=(3, 3))([tower(i) for i in inputs])

    def loss(_: Any, e: Any) -> Any:
        near = K.sum(K.square(e[:, 0] - e[:, 1]), axis=-1)
        far = K.sum(K.square(e[:, 0] - e[:, 2]), axis=-1)
        return K.mean(K.maximum(near - far + .5, 0.))
    model = keras.models.Model(inputs, stacked)
    seed(tower)
    model.compile(keras.optimizers.SGD(.1), loss)
    x = [data(8, 4, at=i) for i in range(3)]
    h = model.fit(x, np.zeros((8, 3, 3)), batch_size=4, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "e": tower.predict(x[0])}


@program
def dqn(keras: Any) -> dict[str, Any]:
    """Reinforcement learning's loop: predict, change one target, train on it; a target network that follows."""
    L, M = keras.layers, keras.models

    def net() -> Any:
        m = M.Sequential([L.Dense(6, activation="relu", input_dim=3, name="q1"), L.Dense(2, name="q2")])
        m.compile(keras.optimizers.Adam(.01), "mse")
        seed(m)
        return m
    q, target = net(), net()
    for step in range(6):
        s, s2 = data(1, 3, at=step), data(1, 3, at=step + 50)
        y = q.predict(s)
        y[0, step % 2] = 1. + .9 * np.amax(target.predict(s2)[0])
        q.fit(s, y, epochs=1, verbose=0)
        if step % 3 == 2:
            target.set_weights([.5 * a + .5 * b for a, b in zip(q.get_weights(), target.get_weights())])
    return {"q": q.predict(data(4, 3)), "target": target.predict(data(4, 3))}


@program
def distillation(keras: Any) -> dict[str, Any]:
    """A student learns from a frozen teacher inside one model with two losses."""
    L, K, M = keras.layers, keras.backend, keras.models
    x = L.Input((4,))
    teacher = M.Sequential([L.Dense(8, activation="relu", input_shape=(4,), name="t1"), L.Dense(3, name="t2")])
    student = M.Sequential([L.Dense(4, activation="relu", input_shape=(4,), name="s1"), L.Dense(3, name="s2")])
    teacher.trainable = False
    soft = L.Lambda(lambda t: K.sum(K.square(K.softmax(t[0] / 2.) - K.softmax(t[1] / 2.)), axis=1, keepdims=True),
                    output_shape=(1,), name="soft")([teacher(x), student(x)])
    hard = L.Activation("softmax", name="hard")(student(x))
    model = M.Model(x, [soft, hard])
    seed(teacher, student)
    before = teacher.get_weights()
    model.compile(keras.optimizers.Adam(.02), {"soft": lambda y, p: p, "hard": "categorical_crossentropy"},
                  loss_weights={"soft": 2., "hard": .5}, metrics={"hard": "acc"})
    h = model.fit(data(12, 4), [np.zeros(12), one_hot(classes(12, 3), 3)], batch_size=4, epochs=3, shuffle=False,
                  verbose=0)
    moved = max(float(np.abs(a - b).max()) for a, b in zip(before, teacher.get_weights()))
    return {"history": curve(h), "moved": moved, "p": student.predict(data(3, 4))}
