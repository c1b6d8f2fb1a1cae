"""Programs with recurrent layers: sequences to classes, to numbers, to sequences; masks, states, both directions."""
from __future__ import annotations

from typing import Any

import numpy as np

from . import classes, curve, data, one_hot, program, seed

LENGTHS = (5, 3, 4, 1)


def kinds(L: Any, **kwargs: Any) -> dict[str, Any]:
    """Makers of the three layers, with Keras 2.2's defaults spelt out."""
    return {"simple": lambda **k: L.SimpleRNN(4, **{**kwargs, **k}),
            "gru": lambda **k: L.GRU(4, recurrent_activation="hard_sigmoid", reset_after=False, **{**kwargs, **k}),
            "gru_after": lambda **k: L.GRU(4, recurrent_activation="sigmoid", reset_after=True, **{**kwargs, **k}),
            "lstm": lambda **k: L.LSTM(4, recurrent_activation="hard_sigmoid", **{**kwargs, **k})}


def padded() -> np.ndarray:
    """Four sequences of different lengths, zeros behind them."""
    x = data(4, 5, 3)
    for i, n in enumerate(LENGTHS):
        x[i, n:] = 0.
    return x


def tokens(n: int, time: int, words: int) -> np.ndarray:
    """Word numbers from 1 on, zeros behind them."""
    rng = np.random.RandomState(n)
    x = rng.randint(1, words, (n, time))
    for row, length in zip(x, rng.randint(1, time + 1, n)):
        row[length:] = 0
    return x


@program
def recurrent_outputs(keras: Any) -> dict[str, Any]:
    """All outputs and the last states, forwards and backwards, with and without a mask, of any length."""
    L = keras.layers
    out = {}
    for kind, make in kinds(L, return_sequences=True, return_state=True).items():
        for back in (False, True):
            x = L.Input((None, 3))
            model = keras.models.Model(x, make(go_backwards=back, name=kind)(x))
            seed(model)
            out[f"{kind}_{back}"] = [model.predict(data(3, n, 3)) for n in (1, 5)]
            x = L.Input((5, 3))
            model = keras.models.Model(x, make(go_backwards=back, name=kind)(L.Masking()(x)))
            seed(model)
            out[f"{kind}_{back}_masked"] = model.predict(padded())
    return out


@program
def recurrent_gradients(keras: Any) -> dict[str, Any]:
    """One step of plain gradient descent through each layer, masked, rolled and unrolled."""
    L = keras.layers
    out = {}
    for kind, make in kinds(L).items():
        for unroll in (False, True):
            model = keras.models.Sequential([L.Masking(input_shape=(5, 3)), make(unroll=unroll, name=kind),
                                             L.Dense(2, name="top")])
            seed(model)
            model.compile(keras.optimizers.SGD(1.), "mse")
            loss = model.train_on_batch(padded(), data(4, 2))
            out[f"{kind}_{unroll}"] = {"loss": loss, "weights": model.get_weights()}
    return out


@program
def sentiment(keras: Any) -> dict[str, Any]:
    """Padded words through a masking Embedding, two LSTMs and a classifier, with class names to predict."""
    L = keras.layers
    model = keras.models.Sequential([
        L.Embedding(12, 3, mask_zero=True, input_length=6, name="words"),
        L.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid", name="first"),
        L.LSTM(3, recurrent_activation="hard_sigmoid", name="second"), L.Dense(1, activation="sigmoid", name="top")])
    seed(model)
    model.compile(keras.optimizers.Adam(.02), "binary_crossentropy", metrics=["acc"])
    h = model.fit(tokens(12, 6, 12), classes(12, 2), batch_size=5, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict(tokens(5, 6, 12))}


@program
def tagging(keras: Any) -> dict[str, Any]:
    """A class for every word: both directions, a dense layer per step, a loss that leaves padding out."""
    L = keras.layers
    model = keras.models.Sequential([
        L.Embedding(9, 3, mask_zero=True, input_length=5, name="words"),
        L.Bidirectional(L.GRU(4, return_sequences=True, recurrent_activation="hard_sigmoid", reset_after=False),
                        name="both"),
        L.TimeDistributed(L.Dense(3, activation="softmax"), name="tags")])
    seed(model)
    model.compile(keras.optimizers.RMSprop(.01), "categorical_crossentropy")
    y = one_hot(classes(50, 3), 3).reshape(10, 5, 3)
    x = tokens(10, 5, 9)
    steps = [float(model.train_on_batch(x, y)) for _ in range(1)]
    return {"steps": steps, "p": [p[m] for p, m in zip(model.predict(x), x != 0)]}


@program
def translation(keras: Any) -> dict[str, Any]:
    """Encoder and decoder, the states handed over; then a decoder that runs one step at a time."""
    L, M = keras.layers, keras.models
    source, target = L.Input((None, 3)), L.Input((None, 2))
    _, h, c = L.LSTM(4, return_state=True, recurrent_activation="hard_sigmoid", name="encoder")(source)
    lstm = L.LSTM(4, return_sequences=True, return_state=True, recurrent_activation="hard_sigmoid", name="decoder")
    seen, _, _ = lstm(target, initial_state=[h, c])
    top = L.Dense(2, name="top")
    model = M.Model([source, target], top(seen))
    seed(model)
    model.compile(keras.optimizers.RMSprop(.01), "mse")
    x, y = data(6, 5, 3), data(6, 4, 2)
    hist = model.fit([x, y], np.roll(y, -1, 1), batch_size=4, epochs=2, shuffle=False, verbose=0)
    encoder = M.Model(source, [h, c])
    states_in = [L.Input((4,)), L.Input((4,))]
    out, h1, c1 = lstm(target, initial_state=states_in)
    decoder = M.Model([target, *states_in], [top(out), h1, c1])
    states, word, said = encoder.predict(x[:2]), np.zeros((2, 1, 2), "float32"), []
    for _ in range(3):
        word, *states = decoder.predict([word, *states])
        said.append(word)
    return {"history": curve(hist), "p": model.predict([x, y]), "said": said}


@program
def stateful_series(keras: Any) -> dict[str, Any]:
    """A series cut into batches that go on where the last ended: in training, testing and prediction."""
    L = keras.layers
    model = keras.models.Sequential([
        L.LSTM(4, stateful=True, return_sequences=True, batch_input_shape=(2, 3, 1), name="a",
               recurrent_activation="hard_sigmoid"),
        L.GRU(3, stateful=True, name="b", recurrent_activation="hard_sigmoid", reset_after=False),
        L.Dense(1, name="top")])
    seed(model)
    model.compile(keras.optimizers.SGD(.05), "mse")
    x, y, losses = data(6, 3, 1), data(6, 1), []
    for epoch in range(3):
        losses += model.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0).history["loss"]
        losses.append(model.evaluate(x, y, batch_size=2, verbose=0))
        if epoch:
            model.reset_states()
    first, second = model.predict(x, batch_size=2), model.predict(x, batch_size=2)
    return {"losses": losses, "first": first, "second": second}


@program
def merge_modes(keras: Any) -> dict[str, Any]:
    """Both directions in every way to join them, masked, with sequences and states; outputs where there is input."""
    L = keras.layers
    out = {}
    for mode in ("sum", "mul", "ave", "concat", None):
        for sequences in (False, True):
            x = L.Input((5, 3))
            y = L.Bidirectional(L.LSTM(4, return_sequences=sequences, return_state=True,
                                       recurrent_activation="hard_sigmoid"), merge_mode=mode, name="both")(
                L.Masking()(x))
            model = keras.models.Model(x, y)
            seed(model)
            got = model.predict(padded())
            out[f"{mode}_{sequences}"] = [[p[:n] for p, n in zip(g, LENGTHS)] if g.ndim == 3 else g for g in got]
    return out


@program
def bidirectional_states(keras: Any) -> dict[str, Any]:
    """Initial states of both directions, made by another bidirectional layer."""
    L = keras.layers
    x, z = L.Input((None, 3)), L.Input((None, 2))

    def gru(**kwargs: Any) -> Any:
        return L.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False, **kwargs)
    _, *states = L.Bidirectional(gru(return_state=True), name="below")(x)
    y = L.Bidirectional(gru(return_sequences=True), name="above")(z, initial_state=states)
    model = keras.models.Model([x, z], L.Dense(1, name="top")(y))
    seed(model)
    model.compile(keras.optimizers.SGD(.1), "mse")
    h = model.fit([data(6, 4, 3), data(6, 5, 2)], data(6, 5, 1), batch_size=3, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict([data(2, 1, 3), data(2, 3, 2)])}


@program
def own_cell(keras: Any) -> dict[str, Any]:
    """A cell of the user's, alone and stacked, and one that reads a constant at every step."""
    L, K = keras.layers, keras.backend

    class Minimal(L.Layer):
        def __init__(self, units: int, **kwargs: Any):
            super().__init__(**kwargs)
            self.units = self.state_size = units

        def build(self, shape: Any) -> None:
            shape = shape[0] if isinstance(shape, list) else shape         # Keras 2.2 lists the constants' shapes, too
            self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="ones", name="kernel")
            self.recurrent = self.add_weight(shape=(self.units, self.units), initializer="ones", name="recurrent")
            self.extra = self.add_weight(shape=(2, self.units), initializer="ones", name="extra")
            self.built = True

        def call(self, inputs: Any, states: Any) -> Any:
            out = K.dot(inputs, self.kernel) + K.dot(states[0], self.recurrent) + self.extra[0]
            return out, [out]

    class WithConstant(Minimal):
        def call(self, inputs: Any, states: Any, constants: Any = None) -> Any:
            out = K.tanh(K.dot(inputs, self.kernel) + K.dot(states[0], self.recurrent)
                         + K.dot(constants[0], self.extra))
            return out, [out]
    x, c = L.Input((4, 3)), L.Input((2,))
    a = L.RNN(Minimal(3), name="plain")(x)
    b = L.RNN([Minimal(2), Minimal(3)], return_state=True, name="stack")(x)
    d = L.RNN(WithConstant(3), return_sequences=True, name="fed")(x, constants=c)
    model = keras.models.Model([x, c], [a, *b, d])
    seed(model)
    model.compile(keras.optimizers.SGD(.01), "mse")
    ys = [data(4, 3), data(4, 3), data(4, 2), data(4, 3), data(4, 4, 3)]
    losses = [model.train_on_batch([data(4, 4, 3), data(4, 2)], ys)[0] for _ in range(2)]
    return {"losses": losses, "p": model.predict([data(4, 4, 3), data(4, 2)])}


@program
def stacked_cells(keras: Any) -> dict[str, Any]:
    """Three kinds of cells as one layer, with a mask, all states returned."""
    L = keras.layers
    x = L.Input((5, 3))
    cells = [L.LSTMCell(4, recurrent_activation="hard_sigmoid"),
             L.GRUCell(3, recurrent_activation="hard_sigmoid", reset_after=False), L.SimpleRNNCell(2)]
    y = L.RNN(cells, return_sequences=True, return_state=True, name="stack")(L.Masking()(x))
    model = keras.models.Model(x, y)
    seed(model)
    states = [np.reshape(s, (4, -1)) for s in model.predict(padded())[1:]]
    return {"y": model.predict(padded())[0], "last": states[-1], "total": sum(float(s.sum()) for s in states)}


@program
def penalties(keras: Any) -> dict[str, Any]:
    """Regularizers and constraints of all weights, on the cell and through wrappers; frozen layers."""
    L, R = keras.layers, keras.regularizers

    def lstm(**kwargs: Any) -> Any:
        return L.LSTM(3, recurrent_activation="hard_sigmoid", kernel_regularizer=R.l2(.02),
                      recurrent_regularizer=R.l1(.03), bias_regularizer=R.l2(.04),
                      kernel_constraint=keras.constraints.MaxNorm(1.),
                      recurrent_constraint=keras.constraints.NonNeg(), **kwargs)
    model = keras.models.Sequential([
        L.TimeDistributed(L.Dense(3, kernel_regularizer=R.l2(.05)), input_shape=(4, 2), name="steps"),
        L.Bidirectional(lstm(return_sequences=True), name="both"), lstm(name="last"), L.Dense(1, name="top")])
    seed(model)
    model.layers[2].trainable = False
    model.compile(keras.optimizers.SGD(.1), "mse")
    h = model.fit(data(6, 4, 2), data(6, 1), batch_size=3, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "weights": model.get_weights()}


@program
def distributed(keras: Any) -> dict[str, Any]:
    """A model, a flattening and a batch normalization at every step; the last ones' averages move."""
    L, M = keras.layers, keras.models
    inner = M.Sequential([L.Dense(4, activation="tanh", input_shape=(3,), name="i1"), L.Dense(2, name="i2")])
    x = L.Input((4, 2, 3))
    h = L.TimeDistributed(L.TimeDistributed(inner), name="nested")(x)
    h = L.TimeDistributed(L.Flatten(), name="flat")(h)
    h = L.TimeDistributed(L.BatchNormalization(momentum=.5), name="normal")(h)
    y = L.TimeDistributed(L.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False), name="words")(x)
    model = M.Model(x, L.Dense(1, name="top")(L.concatenate([h, y])))
    seed(inner, model)
    p = model.predict(data(3, 4, 2, 3))              # later the variances differ: tf_keras does not scale them
    model.compile(keras.optimizers.SGD(.1), "mse")
    h = model.fit(data(8, 4, 2, 3), data(8, 4, 1), batch_size=4, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "p": p, "words": M.Model(x, y).predict(data(3, 4, 2, 3)),
            "averages": model.get_layer("normal").get_weights()[2]}


@program
def captions(keras: Any) -> dict[str, Any]:
    """A picture's features start the states, repeated for every word; words of any length, masked."""
    L = keras.layers
    image, words = L.Input((5,)), L.Input((None,))
    start = L.Dense(4, activation="tanh", name="start")(image)
    seen = L.Embedding(8, 3, mask_zero=True, name="words")(words)
    h = L.GRU(4, return_sequences=True, recurrent_activation="hard_sigmoid", reset_after=False, name="gru")(
        seen, initial_state=start)
    model = keras.models.Model([image, words], L.TimeDistributed(L.Dense(8, activation="softmax"), name="next")(h))
    seed(model)
    model.compile(keras.optimizers.Adam(.02), "categorical_crossentropy")
    x = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [7, 6, 5, 4]])
    p = model.predict([data(3, 5), x])
    steps = [float(model.train_on_batch([data(3, 5), x[2:].repeat(3, 0)], one_hot(np.roll(x[2:], -1).repeat(3, 0), 8)))
             for _ in range(3)]
    return {"p": [a[m] for a, m in zip(p, x != 0)], "steps": steps}
