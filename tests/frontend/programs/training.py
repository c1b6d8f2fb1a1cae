"""Programs about training: losses, weights, callbacks, generators, optimizers."""
from __future__ import annotations

from typing import Any

import numpy as np

from . import classes, curve, data, one_hot, program, seed


def mlp(keras: Any, inputs: int = 4, outputs: int = 3, last: str = "softmax", **head: Any) -> Any:
    """A small classifier with known weights."""
    L = keras.layers
    model = keras.models.Sequential([L.Dense(6, activation="tanh", input_shape=(inputs,), name="m1"),
                                     L.Dense(outputs, activation=last, name="m2", **head)])
    seed(model)
    return model


@program
def custom_losses_and_metrics(keras: Any) -> dict[str, Any]:
    """Losses and metrics as functions and closures; their names in the history."""
    K = keras.backend

    def weighted_bce(w: float) -> Any:
        def loss(y: Any, p: Any) -> Any:
            p = K.clip(p, K.epsilon(), 1 - K.epsilon())
            return -K.mean(w * y * K.log(p) + (1 - y) * K.log(1 - p), axis=-1)
        return loss

    def recall(y: Any, p: Any) -> Any:
        hit = K.sum(K.round(K.clip(y * p, 0, 1)))
        return hit / (K.sum(K.round(K.clip(y, 0, 1))) + K.epsilon())

    def r2(y: Any, p: Any) -> Any:
        return 1 - K.sum(K.square(y - p)) / (K.sum(K.square(y - K.mean(y))) + K.epsilon())
    model = mlp(keras, outputs=1, last="sigmoid")
    model.compile(keras.optimizers.Adam(.02), weighted_bce(3.), metrics=["accuracy", recall, r2, "mse"])
    x, y = data(20, 4), classes(20, 2)
    h = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, validation_split=.2)
    return {"history": curve(h), "names": len(model.metrics_names)}


@program
def focal_and_dice(keras: Any) -> dict[str, Any]:
    """Two losses from competitions' notebooks."""
    K = keras.backend

    def focal(y: Any, p: Any, gamma: float = 2., alpha: float = .25) -> Any:
        a, b = K.switch(K.equal(y, 1), p, K.ones_like(p)), K.switch(K.equal(y, 0), p, K.zeros_like(p))
        return -K.sum(alpha * K.pow(1. - a, gamma) * K.log(K.clip(a, 1e-3, 1.)), axis=-1) \
            - K.sum((1 - alpha) * K.pow(b, gamma) * K.log(K.clip(1. - b, 1e-3, 1.)), axis=-1)

    def dice(y: Any, p: Any) -> Any:
        y, p = K.flatten(y), K.flatten(p)
        return 1 - (2. * K.sum(y * p) + 1.) / (K.sum(y) + K.sum(p) + 1.)

    def rmse(y: Any, p: Any) -> Any:
        return K.sqrt(K.mean(K.square(p - y), axis=-1))
    out = {}
    for fn in (focal, dice, rmse):
        model = mlp(keras, outputs=3, last="sigmoid")
        model.compile(keras.optimizers.SGD(.5), fn)
        y = (data(14, 3) > 0).astype("float32")
        out[fn.__name__] = curve(model.fit(data(14, 4), y, batch_size=5, epochs=3, shuffle=False, verbose=0))
    return out


@program
def weights_of_samples_and_classes(keras: Any) -> dict[str, Any]:
    """class_weight, sample_weight, and a validation set with weights."""
    x, y = data(18, 4), classes(18, 3)
    w = .5 + np.random.RandomState(5).rand(18)
    out = {}
    for name, args in {"sample": {"sample_weight": w}, "class": {"class_weight": {0: 1., 1: 2., 2: .5}},
                       "val": {"validation_data": (x[:7], one_hot(y, 3)[:7], w[:7])}}.items():
        model = mlp(keras)
        model.compile(keras.optimizers.SGD(.2), "categorical_crossentropy", metrics=["acc"])
        out[name] = curve(model.fit(x, one_hot(y, 3), batch_size=6, epochs=2, shuffle=False, verbose=0, **args))
        model = mlp(keras)
        model.compile(keras.optimizers.SGD(.2), "categorical_crossentropy")
        out[name + "_step"] = [model.train_on_batch(x, one_hot(y, 3), sample_weight=w),
                               model.train_on_batch(x, one_hot(y, 3), class_weight={0: 1., 1: 2., 2: .5}),
                               model.test_on_batch(x, one_hot(y, 3), sample_weight=w),
                               model.evaluate(x, one_hot(y, 3), sample_weight=w, batch_size=18, verbose=0)]
    return out


@program
def weights_by_output(keras: Any) -> dict[str, Any]:
    """Sample weights for one of two outputs, or for both."""
    L = keras.layers
    x = L.Input((4,))
    model = keras.models.Model(x, [L.Dense(1, name="u")(x), L.Dense(2, name="v")(x)])
    seed(model)
    model.compile(keras.optimizers.SGD(.05), "mse", metrics={"u": ["mae"]})
    w = .5 + np.random.RandomState(5).rand(10)
    a, u, v = data(10, 4), data(10, 1), data(10, 2)
    return {"steps": [model.train_on_batch(a, {"u": u, "v": v}, sample_weight={"u": w}),
                      model.train_on_batch(a, [u, v], sample_weight=[w, 2 * w]),
                      model.test_on_batch(a, [u, v], sample_weight={"v": w})]}


@program
def weights_of_timesteps(keras: Any) -> dict[str, Any]:
    """sample_weight_mode='temporal'."""
    L = keras.layers
    model = keras.models.Sequential([L.Dense(5, activation="tanh", input_shape=(6, 4), name="m1"),
                                     L.Dense(3, activation="softmax", name="m2")])
    seed(model)
    model.compile(keras.optimizers.RMSprop(.01), "sparse_categorical_crossentropy", sample_weight_mode="temporal")
    x, y = data(8, 6, 4), classes(48, 3).reshape(8, 6, 1)
    w = .1 + np.random.RandomState(1).rand(8, 6)
    h = model.fit(x, y, sample_weight=w, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "p": model.predict(x)}


@program
def integer_labels(keras: Any) -> dict[str, Any]:
    """sparse_categorical_crossentropy with labels (n,), (n, 1), of several types, and per timestep."""
    out = {}
    for name, y in {"n": classes(13, 3), "n1": classes(13, 3).reshape(-1, 1), "u8": classes(13, 3).astype("uint8"),
                    "f": classes(13, 3).astype("float64"), "i32": classes(13, 3).astype("int32")}.items():
        model = mlp(keras)
        model.compile(keras.optimizers.SGD(.2), "sparse_categorical_crossentropy", metrics=["acc"])
        h = model.fit(data(13, 4), y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        out[name] = [curve(h), model.evaluate(data(13, 4), y, verbose=0, batch_size=5)]
    return out


@program
def early_stopping(keras: Any) -> dict[str, Any]:
    """The learning rate explodes at epoch 3: training stops and the best weights come back."""
    model = mlp(keras, outputs=1, last="linear")
    model.compile(keras.optimizers.SGD(.05), "mse")
    C = keras.callbacks
    x, y = data(24, 4), data(24)
    h = model.fit(x, y, epochs=20, batch_size=6, shuffle=False, verbose=0, validation_split=.25, callbacks=[
        C.LearningRateScheduler(lambda e: .05 if e < 3 else .9),
        C.EarlyStopping("val_loss", patience=2, restore_best_weights=True)])
    return {"history": curve(h), "epochs": h.epoch, "p": model.predict(x),
            "lr": float(keras.backend.get_value(model.optimizer.lr))}


@program
def plateau_and_schedule(keras: Any) -> dict[str, Any]:
    """ReduceLROnPlateau, a schedule of (epoch, lr), and the rate set by hand."""
    C, K = keras.callbacks, keras.backend
    model = mlp(keras, outputs=1, last="linear")
    model.compile(keras.optimizers.SGD(.1), "mse")
    x, y = data(12, 4), data(12)
    h1 = model.fit(x, y, epochs=4, batch_size=12, shuffle=False, verbose=0, callbacks=[
        C.LearningRateScheduler(lambda epoch, lr: lr * .5)])
    K.set_value(model.optimizer.lr, .4)
    h2 = model.fit(x, y, epochs=9, initial_epoch=4, batch_size=12, shuffle=False, verbose=0, callbacks=[
        C.ReduceLROnPlateau("loss", factor=.5, patience=1, min_delta=.05, min_lr=.01)])
    return {"one": curve(h1), "two": curve(h2), "epochs": h2.epoch, "lr": float(K.get_value(model.optimizer.lr))}


@program
def own_callbacks(keras: Any) -> dict[str, Any]:
    """The guide's LossHistory, and a callback that predicts and changes the rate in the middle of an epoch."""
    K = keras.backend

    class LossHistory(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.losses, self.seen = [], []

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.losses.append(float(logs.get("loss")))
            if batch == 1:
                K.set_value(self.model.optimizer.lr, .5 * K.get_value(self.model.optimizer.lr))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seen.append(float(np.sum(self.model.predict(data(4, 4)))))
    model, mine = mlp(keras), LossHistory()
    calls: list[int] = []
    model.compile(keras.optimizers.SGD(.4), "categorical_crossentropy")
    model.fit(data(11, 4), one_hot(classes(11, 3), 3), batch_size=4, epochs=3, shuffle=False, verbose=0,
              callbacks=[mine, keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: calls.append(epoch))])
    return {"losses": mine.losses, "seen": mine.seen, "calls": calls}


@program
def generators(keras: Any) -> dict[str, Any]:
    """fit_generator with a plain generator and with a Sequence; their validation."""
    x, y = data(12, 4), one_hot(classes(12, 3), 3)

    def forever(weights: bool = False) -> Any:
        while True:
            for i in (0, 4, 8):
                batch = x[i:i + 4], y[i:i + 4]
                yield (*batch, np.arange(1., 5.)) if weights else batch

    class Batches(keras.utils.Sequence):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> Any:
            return x[4 * i:4 * i + 4], y[4 * i:4 * i + 4]
    model = mlp(keras)
    model.compile(keras.optimizers.SGD(.3), "categorical_crossentropy", metrics=["acc"])
    h1 = model.fit_generator(forever(), steps_per_epoch=3, epochs=2, verbose=0, validation_data=(x, y), workers=0)
    h2 = model.fit_generator(forever(True), steps_per_epoch=5, epochs=2, verbose=0, validation_data=forever(),
                             validation_steps=3, workers=0)
    h3 = model.fit_generator(Batches(), epochs=2, verbose=0, shuffle=False, validation_data=Batches(), workers=0)
    return {"one": curve(h1), "two": curve(h2), "three": curve(h3),
            "evaluate": model.evaluate_generator(forever(), steps=3, workers=0),
            "p": model.predict_generator(Batches(), workers=0)}


@program
def penalties_and_constraints(keras: Any) -> dict[str, Any]:
    """Regularizers, constraints, momentum; the penalty is part of `loss` only."""
    L, R, C = keras.layers, keras.regularizers, keras.constraints
    model = keras.models.Sequential([
        L.Dense(5, input_shape=(4,), kernel_regularizer=R.l2(.01), name="p1"),
        L.Dense(5, kernel_constraint=C.MaxNorm(.7), bias_regularizer=R.l1_l2(.01, .02), name="p2"),
        L.Dense(5, kernel_constraint=C.NonNeg(), name="p3"), L.Dense(2, kernel_constraint=C.UnitNorm(), name="p4")])
    seed(model)
    model.compile(keras.optimizers.SGD(.02, momentum=.9), "mse", metrics=["mse"])
    x, y = data(8, 4), data(8, 2)
    h = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "weights": model.get_weights(), "evaluate": model.evaluate(x, y, verbose=0)}


@program
def kinds_of_arrays(keras: Any) -> dict[str, Any]:
    """float64, integers, bytes, lists, Fortran order, strides, one-dimensional inputs and targets."""
    L = keras.layers
    model = keras.models.Sequential([L.Dense(3, activation="tanh", input_dim=1, name="k1"), L.Dense(1, name="k2")])
    seed(model)
    model.compile(keras.optimizers.SGD(.01), "mse")
    x = np.arange(12)
    out = {"fit": curve(model.fit(x, x % 3 == 0, batch_size=5, epochs=2, shuffle=False, verbose=0))}
    for name, v in {"i64": x, "u8": x.astype("uint8"), "f64": x.astype("float64"), "bool": x > 5,
                    "strides": np.arange(24.)[::2], "column": x.reshape(-1, 1)}.items():
        out[name] = model.predict(np.asarray(v), batch_size=5)
    wide = mlp(keras)
    out["fortran"] = wide.predict(np.asfortranarray(data(6, 4)))
    out["rows"] = wide.predict(data(12, 4)[::3])
    out["columns"] = wide.predict(data(6, 8)[:, ::2])
    out["reversed"] = wide.predict_on_batch(data(6, 4)[::-1])
    return out


@program
def optimizers_in_full(keras: Any) -> dict[str, Any]:
    """Every optimizer with every option, six steps each, in batches that change their size."""
    O, out = keras.optimizers, {}
    for name, make in {
        "sgd": lambda: O.SGD(.1, decay=.1), "momentum": lambda: O.SGD(.1, momentum=.9),
        "nesterov": lambda: O.SGD(.1, momentum=.9, nesterov=True, decay=.01), "rmsprop": lambda: O.RMSprop(.01, .8),
        "adam": lambda: O.Adam(.01, decay=.05), "amsgrad": lambda: O.Adam(.01, amsgrad=True),
        "adamax": lambda: O.Adamax(.02), "nadam": lambda: O.Nadam(.02), "adadelta": lambda: O.Adadelta(1., .9),
        "clipvalue": lambda: O.SGD(.1, clipvalue=.02),
    }.items():
        model = mlp(keras)
        model.compile(make(), "categorical_crossentropy")
        model.fit(data(10, 4), one_hot(classes(10, 3), 3), batch_size=4, epochs=2, shuffle=False, verbose=0)
        out[name] = model.predict(data(5, 4))
    return out


@program
def reported_losses_and_metrics(keras: Any) -> dict[str, Any]:
    """evaluate over partial batches for outputs of two and three axes."""
    L, out = keras.layers, {}
    for shape in ((3,), (2, 3)):
        x = L.Input(shape)
        model = keras.models.Model(x, L.Softmax(name="s")(L.Dense(3, name="e")(x)))
        seed(model)
        a, y = data(11, *shape), one_hot(classes(11 * int(np.prod(shape[:-1])), 3), 3).reshape(11, *shape)
        for loss in ("mse", "mae", "mape", "msle", "squared_hinge", "hinge", "categorical_hinge", "logcosh",
                     "categorical_crossentropy", "kullback_leibler_divergence", "poisson"):
            model.compile(keras.optimizers.SGD(), loss, metrics=["acc", "mae", "categorical_accuracy"])
            t = 2 * y - 1 if loss.endswith("hinge") else y             # later versions turn 0 into -1
            out[loss + str(len(shape))] = model.evaluate(a, t, batch_size=4, verbose=0)
    return out
