"""Programs that reach below the layers: own layers, Lambda, K.function, gradients, configs."""
from __future__ import annotations

from typing import Any

import numpy as np

from . import classes, curve, data, one_hot, program, seed


@program
def own_layers(keras: Any) -> dict[str, Any]:
    """The guide's MyLayer, and one with a penalty, a frozen weight and a training switch."""
    L, K = keras.layers, keras.backend

    class MyLayer(L.Layer):
        def __init__(self, output_dim: int, **kwargs: Any):
            self.output_dim = output_dim
            super().__init__(**kwargs)

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(name="kernel", shape=(input_shape[1], self.output_dim),
                                          initializer="uniform", trainable=True)
            super().build(input_shape)

        def call(self, x: Any) -> Any:
            return K.dot(x, self.kernel)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (input_shape[0], self.output_dim)

    class Scale(L.Layer):
        def build(self, input_shape: Any) -> None:
            self.gain = self.add_weight(name="gain", shape=(int(input_shape[-1]),), initializer="ones",
                                        regularizer=keras.regularizers.l2(.1))
            self.offset = self.add_weight(name="offset", shape=(int(input_shape[-1]),), initializer="zeros",
                                          trainable=False)
            self.built = True

        def call(self, x: Any, training: Any = None) -> Any:
            return K.in_train_phase(x * self.gain + self.offset, x * self.gain * 2., training=training)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape
    model = keras.models.Sequential([MyLayer(5, input_shape=(4,), name="mine"), Scale(name="scale"),
                                     L.Dense(2, name="out")])
    seed(model)
    model.compile(keras.optimizers.SGD(.05), "mse")
    x, y = data(9, 4), data(9, 2)
    h = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    return {"history": curve(h), "weights": model.layers[1].get_weights(), "p": model.predict(x),
            "counts": [len(model.trainable_weights), len(model.non_trainable_weights), model.count_params()]}


@program
def lambdas(keras: Any) -> dict[str, Any]:
    """Lambda: statistics, slices, arguments, antirectifier, several inputs."""
    L, K = keras.layers, keras.backend

    def antirectifier(x: Any) -> Any:
        x = K.l2_normalize(x - K.mean(x, axis=1, keepdims=True), axis=1)
        return K.concatenate([K.relu(x), K.relu(-x)], axis=1)
    x = L.Input((4,))
    a = L.Lambda(antirectifier, output_shape=lambda s: (s[0], 2 * s[1]))(x)
    b = L.Lambda(lambda t, k: t[:, :k] ** 2, output_shape=(2,), arguments={"k": 2})(x)
    c = L.Lambda(lambda t: K.expand_dims(K.max(t, axis=-1)), output_shape=(1,))(x)
    d = L.Lambda(lambda t: K.batch_dot(K.expand_dims(t[0], 1), K.expand_dims(t[1], 2))[:, 0], output_shape=(1,))([x, x])
    e = L.Lambda(lambda t: K.permute_dimensions(K.reshape(t, (-1, 2, 2)), (0, 2, 1)), output_shape=(2, 2))(x)
    f = L.Lambda(lambda t: K.stack([t, -t], axis=1) * K.constant([[1.], [2.]]), output_shape=(2, 4))(x)
    all_of_them = L.concatenate([a, b, c, d, L.Flatten()(e), L.Flatten()(f)])
    model = keras.models.Model(x, L.Dense(1, activation="sigmoid", name="out")(all_of_them))
    seed(model)
    model.compile(keras.optimizers.Adam(.01), "binary_crossentropy")
    h = model.fit(data(9, 4), classes(9, 2), batch_size=4, epochs=2, shuffle=False, verbose=0)
    return {"history": curve(h), "features": keras.models.Model(x, all_of_them).predict(data(3, 4))}


@program
def hidden_layers_by_function(keras: Any) -> dict[str, Any]:
    """The FAQ's K.function for a hidden layer, in both phases."""
    L, K = keras.layers, keras.backend
    model = keras.models.Sequential([L.Dense(5, activation="relu", input_shape=(4,), name="f1"),
                                     L.BatchNormalization(name="normal"), L.Dense(2, activation="softmax", name="f2")])
    seed(model)
    x = data(6, 4)
    f = K.function([model.layers[0].input, K.learning_phase()], [model.layers[1].output])
    g = K.function([model.input], [model.layers[0].output])
    many = K.function([model.input, K.learning_phase()], [layer.output for layer in model.layers])
    return {"test": f([x, 0]), "train": f([x, 1]), "first": g([x]), "many": many([x, 1])}


@program
def gradients(keras: Any) -> dict[str, Any]:
    """Saliency, gradients with respect to weights, and gradient ascent on the input."""
    L, K = keras.layers, keras.backend
    x = L.Input((4,))
    model = keras.models.Model(x, L.Dense(3, activation="softmax", name="g2")(
        L.Dense(6, activation="elu", name="g1")(x)))
    seed(model)
    a = data(5, 4)
    saliency = K.function([model.input], K.gradients(K.max(model.output, axis=1), [model.input]))([a])[0]
    kernels = K.function([model.input], K.gradients(K.mean(K.square(model.output)), model.trainable_weights))([a])
    loss = K.mean(model.output[:, 1])
    grads = K.gradients(loss, model.input)[0]
    grads /= K.sqrt(K.mean(K.square(grads))) + 1e-5
    step, image, values = K.function([model.input], [loss, grads]), a[:1], []
    for _ in range(5):
        value, direction = step([image])
        image = image + .5 * direction
        values.append(float(value))
    return {"saliency": saliency, "kernels": kernels, "values": values, "image": image}


@program
def updates_by_function(keras: Any) -> dict[str, Any]:
    """A training loop of one's own: variables, K.gradients, K.update, K.function with updates."""
    K = keras.backend
    x, y = K.placeholder(shape=(None, 3)), K.placeholder(shape=(None, 1))
    w, b, n = K.variable(data(3, 1)), K.zeros((1,)), K.variable(0.)
    loss = K.mean(K.square(K.dot(x, w) + b - y))
    g = K.gradients(loss, [w, b])
    f = K.function([x, y], [loss], updates=[K.update_sub(w, .1 * g[0]), K.update(b, b - .1 * g[1]),
                                            K.update_add(n, K.constant(1.))])
    losses = [float(f([data(8, 3), data(8, 1)])[0]) for _ in range(4)]
    return {"losses": losses, "w": K.get_value(w), "b": K.get_value(b), "n": K.get_value(n),
            "both": K.batch_get_value([w, b])}


@program
def conditions(keras: Any) -> dict[str, Any]:
    """K.switch, clipping, comparisons, sorting out of classes inside a Lambda."""
    L, K = keras.layers, keras.backend
    x = L.Input((5,))

    def huber(t: Any) -> Any:
        return K.switch(K.abs(t) < 1., .5 * K.square(t), K.abs(t) - .5)
    parts = [L.Lambda(huber, output_shape=(5,))(x),
             L.Lambda(lambda t: K.one_hot(K.argmax(t, axis=-1), 5), output_shape=(5,))(x),
             L.Lambda(lambda t: K.cast(K.greater(t, 0), "float32") * K.sign(t) + K.hard_sigmoid(t),
                      output_shape=(5,))(x),
             L.Lambda(lambda t: K.clip(t, -.5, .5) + K.softplus(t) * K.softsign(t), output_shape=(5,))(x),
             L.Lambda(lambda t: K.cumsum(t, axis=1) + K.cumprod(t, axis=1), output_shape=(5,))(x),
             L.Lambda(lambda t: K.reverse(t, axes=1) * K.log(K.sum(K.exp(t), 1, True)), output_shape=(5,))(x),
             L.Lambda(lambda t: (t - K.mean(t, axis=-1, keepdims=True)) / (K.std(t, axis=-1, keepdims=True) + .1),
                      output_shape=(5,))(x),
             L.Lambda(lambda t: K.repeat_elements(K.expand_dims(K.min(t, 1)), 5, 1) - K.tile(t[:, :1], (1, 5)),
                      output_shape=(5,))(x)]
    model = keras.models.Model(x, parts)
    grads = K.function([x], K.gradients(K.sum(sum(K.sum(p) for i, p in enumerate(parts) if i != 1)), [x]))
    return {"p": model.predict(data(4, 5)), "g": grads([data(4, 5)])}


@program
def round_trips(keras: Any) -> dict[str, Any]:
    """get_config, from_config, to_json, clone: the same outputs with the same weights."""
    L, M = keras.layers, keras.models
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    tower = M.Sequential([L.Dense(3, activation="relu", input_shape=(4,), kernel_regularizer="l2", name="t"),
                          L.Dropout(.3), L.BatchNormalization(name="normal")], name="tower")
    x = L.concatenate([tower(a), tower(b)], name="both")
    model = M.Model([a, b], [L.Dense(2, activation="softmax", name="p")(x), L.Reshape((3, 2), name="q")(x)])
    seed(model)
    weights, x = model.get_weights(), [data(5, 4), data(5, 4, at=1)]
    copies = [M.Model.from_config(model.get_config()), M.model_from_json(model.to_json()), M.clone_model(model)]
    for copy in copies:
        copy.set_weights(weights)
    return {"p": model.predict(x), "copies": [copy.predict(x) for copy in copies],
            "sequential": M.Sequential.from_config(tower.get_config()).count_params()}


@program
def masks(keras: Any) -> dict[str, Any]:
    """Masking through layers that pass masks on, and a layer that uses the mask."""
    L, K = keras.layers, keras.backend

    class MaskedMean(L.Layer):
        def __init__(self, **kwargs: Any):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, x: Any, mask: Any = None) -> Any:
            m = K.expand_dims(K.cast(mask, "float32"))
            return K.sum(x * m, axis=1) / K.maximum(K.sum(m, axis=1), 1.)

        def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
            return None

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (input_shape[0], input_shape[2])
    model = keras.models.Sequential([L.Masking(0., input_shape=(5, 3)), L.Dense(4, activation="tanh", name="k"),
                                     MaskedMean(), L.Dense(1, name="o")])
    words = keras.models.Sequential([L.Embedding(7, 4, mask_zero=True, input_length=5, name="e"), MaskedMean(),
                                     L.Dense(1, activation="sigmoid", name="s")])
    seed(model, words)
    model.compile(keras.optimizers.Adam(.01), "mse")
    words.compile(keras.optimizers.Adam(.01), "binary_crossentropy", metrics=["acc"])
    x = data(6, 5, 3)
    x[:, 3:] = 0
    ids = np.random.RandomState(0).randint(0, 7, (6, 5))
    return {"p": model.predict(x), "h": curve(model.fit(x, data(6), epochs=2, batch_size=4, shuffle=False, verbose=0)),
            "w": curve(words.fit(ids, classes(6, 2), epochs=3, batch_size=4, shuffle=False, verbose=0)),
            "wp": words.predict(ids)}


@program
def one_by_one(keras: Any) -> dict[str, Any]:
    """Several models over the same layers, trained in turn; weights moved between models."""
    L, M = keras.layers, keras.models
    x = L.Input((4,))
    trunk = L.Dense(5, activation="tanh", name="trunk")(x)
    heads = [M.Model(x, L.Dense(2, activation="softmax", name="h%d" % i)(trunk)) for i in range(3)]
    seed(*heads)
    for i, m in enumerate(heads):
        m.compile(keras.optimizers.SGD(.1 * (i + 1)), "categorical_crossentropy")
    out = [[float(np.mean(m.train_on_batch(data(6, 4), one_hot(classes(6, 2, at=i), 2)))) for i, m in enumerate(heads)]
           for _ in range(3)]
    heads[2].layers[-1].set_weights(heads[0].layers[-1].get_weights())
    average = [np.mean([a, b], axis=0) for a, b in zip(heads[0].get_weights(), heads[1].get_weights())]
    heads[1].set_weights(average)
    return {"losses": out, "p": [m.predict(data(3, 4)) for m in heads]}
