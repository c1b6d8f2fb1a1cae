"""What Keras's documentation answers to frequently asked questions, as programs."""
import random

import h5py
import numpy as np
import pytest

import graphk

graphk.install_as_keras()

from keras import backend as K  # noqa: E402
from keras.callbacks import EarlyStopping  # noqa: E402
from keras.layers import LSTM, Activation, Dense, Dropout, Input, Layer  # noqa: E402
from keras.models import Model, Sequential, load_model, model_from_json, model_from_yaml  # noqa: E402
from keras.utils import CustomObjectScope, HDF5Matrix  # noqa: E402

X = np.random.RandomState(0).rand(40, 6).astype("float32")
Y = (X.sum(1, keepdims=True) > 3).astype("float32")


@pytest.fixture
def model():
    model = Sequential()
    model.add(Dense(8, input_dim=6, activation="relu", name="first"))
    model.add(Dropout(0.5))
    model.add(Dense(1, name="last"))
    model.add(Activation("sigmoid"))
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


# ------------------------------------------------------------------ how can I save a model?
def test_save_and_load(model, tmp_path):
    model.fit(X, Y, epochs=1, verbose=0)
    model.save(str(tmp_path / "my_model.h5"))
    want = model.predict(X)
    del model
    model = load_model(str(tmp_path / "my_model.h5"))
    np.testing.assert_array_equal(model.predict(X), want)
    model.fit(X, Y, epochs=1, verbose=0)


def test_save_architecture_or_weights_only(model, tmp_path):
    for text, read in ((model.to_json(), model_from_json), (model.to_yaml(), model_from_yaml)):
        assert [layer.name for layer in read(text).layers] == [layer.name for layer in model.layers]
    path = str(tmp_path / "weights.h5")
    model.save_weights(path)
    other = Sequential([Dense(8, input_dim=6, name="first"), Dense(10, name="new_dense")])
    other.load_weights(path, by_name=True)
    np.testing.assert_array_equal(other.layers[0].get_weights()[0], model.layers[0].get_weights()[0])


def test_custom_layers_in_saved_models(tmp_path):
    class AttentionLayer(Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")
            super().build(input_shape)

        def call(self, x):
            return x * K.softmax(self.scale * x)

    path = str(tmp_path / "my_model.h5")
    model = Sequential([Dense(4, input_shape=(6,)), AttentionLayer()])
    model.save(path)
    want = model.predict(X)
    loaded = load_model(path, custom_objects={"AttentionLayer": AttentionLayer}, compile=False)
    np.testing.assert_array_equal(loaded.predict(X), want)
    with CustomObjectScope({"AttentionLayer": AttentionLayer}):
        np.testing.assert_array_equal(load_model(path, compile=False).predict(X), want)
    assert model_from_json(model.to_json(), custom_objects={"AttentionLayer": AttentionLayer}).layers[1].built
    with pytest.raises(ValueError, match="AttentionLayer"):
        load_model(path)


# ------------------------------------------------------------------ the output of an intermediate layer
def test_intermediate_outputs(model):
    intermediate = Model(inputs=model.input, outputs=model.get_layer("first").output)
    w, b = model.get_layer("first").get_weights()
    want = np.maximum(X @ w + b, 0)
    np.testing.assert_allclose(intermediate.predict(X), want, rtol=1e-5, atol=1e-6)
    get_2nd_layer_output = K.function([model.layers[0].input], [model.layers[0].output])
    np.testing.assert_allclose(get_2nd_layer_output([X])[0], want, rtol=1e-5, atol=1e-6)
    both = K.function([model.layers[0].input, K.learning_phase()], [model.layers[1].output])
    np.testing.assert_allclose(both([X, 0])[0], want, rtol=1e-5, atol=1e-6)
    trained = both([X, 1])[0]
    assert np.all((trained == 0) | np.isclose(trained, 2 * want, rtol=1e-5))
    assert (trained == 0).sum() > (want == 0).sum()


# ------------------------------------------------------------------ data that does not fit in memory; when to stop
def test_batches_by_hand_and_by_generator(model, tmp_path):
    np.savetxt(tmp_path / "data.csv", np.hstack([X, Y]), delimiter=",")

    def generate_arrays_from_file(path):
        while True:
            with open(path) as f:
                for line in f:
                    row = np.array(line.split(","), "float32")
                    yield row[None, :6], row[None, 6:]
    for i in range(0, 40, 10):
        assert np.isfinite(model.train_on_batch(X[i:i + 10], Y[i:i + 10])).all()
    history = model.fit_generator(generate_arrays_from_file(tmp_path / "data.csv"), steps_per_epoch=40, epochs=2,
                                  verbose=0)
    assert len(history.history["loss"]) == 2


def test_stop_when_the_validation_loss_does_not_fall(model):
    early_stopping = EarlyStopping(monitor="val_loss", patience=2)
    model.layers[0].trainable = model.layers[2].trainable = False
    model.compile("sgd", "mse")
    hist = model.fit(X, Y, validation_split=0.2, epochs=10, callbacks=[early_stopping], verbose=0)
    assert len(hist.history["val_loss"]) == 3                       # nothing learns, so nothing falls


def test_the_validation_split_is_the_last_part_and_never_shuffled(model):
    labels = np.concatenate([Y[:30] * 0, Y[30:] * 0 + 1])
    hist = model.fit(X, labels, validation_split=0.25, epochs=1, verbose=0)
    again = model.evaluate(X[30:], labels[30:], verbose=0)
    np.testing.assert_allclose(hist.history["val_loss"], again[0], rtol=1e-5)
    assert set(hist.history) == {"val_loss", "val_acc", "loss", "acc"}


# ------------------------------------------------------------------ freezing, states, pop
def test_freezing():
    x = Input(shape=(6,))
    layer = Dense(6)
    layer.trainable = False
    y = layer(x)
    frozen_model = Model(x, y)
    frozen_model.compile(optimizer="rmsprop", loss="mse")
    layer.trainable = True
    trainable_model = Model(x, y)
    trainable_model.compile(optimizer="rmsprop", loss="mse")
    before = layer.get_weights()[0]
    with pytest.warns(UserWarning, match="Discrepancy"):
        frozen_model.fit(X, X * 2, epochs=1, verbose=0)
    np.testing.assert_array_equal(layer.get_weights()[0], before)
    trainable_model.fit(X, X * 2, epochs=1, verbose=0)
    assert (layer.get_weights()[0] != before).all()


def test_stateful_networks():
    x = np.random.random((32, 21, 16))
    model = Sequential()
    model.add(LSTM(8, input_shape=(10, 16), batch_size=32, stateful=True))
    model.add(Dense(16, activation="softmax"))
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy")
    model.train_on_batch(x[:, :10, :], np.reshape(x[:, 10, :], (32, 16)))
    model.train_on_batch(x[:, 10:20, :], np.reshape(x[:, 20, :], (32, 16)))
    carried = model.predict(x[:, :10, :], batch_size=32)
    model.reset_states()
    fresh = model.predict(x[:, :10, :], batch_size=32)
    assert not np.allclose(carried, fresh, atol=1e-7)
    model.layers[0].reset_states()
    np.testing.assert_array_equal(model.predict(x[:, :10, :], batch_size=32), fresh)


def test_removing_a_layer():
    model = Sequential([Dense(32, activation="relu", input_dim=784), Dense(32, activation="relu")])
    assert len(model.layers) == 2
    model.pop()
    assert len(model.layers) == 1 and model.output_shape == (None, 32)


# ------------------------------------------------------------------ HDF5 inputs, the configuration, repeatable results
def test_hdf5_inputs(model, tmp_path):
    with h5py.File(tmp_path / "file.hdf5", "w") as f:
        f["x_data"], f["y_data"] = X, Y
    x_data, y_data = (HDF5Matrix(str(tmp_path / "file.hdf5"), name) for name in ("x_data", "y_data"))
    np.testing.assert_array_equal(model.predict(x_data), model.predict(X))
    assert model.evaluate(x_data, y_data, verbose=0) == model.evaluate(X, Y, verbose=0)
    model.fit(x_data, y_data, epochs=1, shuffle="batch", verbose=0)
    HDF5Matrix.release(str(tmp_path / "file.hdf5"))
    with h5py.File(tmp_path / "file.hdf5", "r") as f:
        np.testing.assert_array_equal(model.predict(f["x_data"]), model.predict(X))


def test_repeatable_results():
    def run():
        np.random.seed(42)
        random.seed(12345)
        model = Sequential([Dense(8, input_dim=6), Dropout(.5), Dense(1)])
        model.compile("adam", "mse")
        return model.fit(X, Y, epochs=2, verbose=0).history["loss"]
    assert run() == run()
