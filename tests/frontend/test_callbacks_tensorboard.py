"""What the TensorBoard callback writes, read back by TensorBoard."""
import io
import sys

import numpy as np
import pytest

from graphk import callbacks as C
from graphk import layers as L
from graphk.frontend.callbacks.event_files import Histogram, gray, graph_def, png
from graphk.frontend.tensor import node_of
from graphk.models import Model, Sequential

RANDOM = np.random.RandomState(0)
WORDS, IMAGES = RANDOM.randint(0, 10, (40, 5)), RANDOM.rand(40, 8, 8, 1)
Y = np.eye(2)[RANDOM.randint(0, 2, 40)]


@pytest.fixture
def needs_tensorboard():
    pytest.importorskip("tensorboard")


def two_inputs():
    words, image = L.Input((5,), name="text"), L.Input((8, 8, 1), name="image")
    both = L.concatenate([L.Dropout(.3)(L.LSTM(3, name="lstm")(L.Embedding(10, 4, name="words")(words))),
                          L.Flatten()(L.Conv2D(4, 3, name="conv")(image))])
    model = Model([words, image], L.Dense(2, activation="softmax", name="out")(both))
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return model


def one_dense():
    model = Sequential([L.Dense(2, input_shape=(5,), name="d")])
    model.compile("sgd", "mse")
    return model


def read(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    return EventAccumulator(str(path), size_guidance={"histograms": 0, "images": 0}).Reload()


def curve(events, tag):
    return [(e.step, e.value) for e in events.Scalars(tag)]


def test_curves(needs_tensorboard, tmp_path):
    history = two_inputs().fit([WORDS, IMAGES], Y, epochs=3, verbose=0, validation_split=.25,
                               callbacks=[C.TensorBoard(tmp_path)]).history
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == ["acc", "loss", "val_acc", "val_loss"]
    for tag, values in history.items():
        np.testing.assert_allclose(curve(events, tag), list(enumerate(values)), rtol=1e-6)
    assert not events.Tags()["histograms"] and events.Tags()["graph"]


@pytest.mark.parametrize("freq, steps", [("batch", [10, 20, 30, 40, 40, 50, 60, 70, 80, 80]),
                                         (20, [20, 40, 40, 60, 80, 80]), (25, [30, 40, 60, 80])])
def test_steps_of_batches_are_samples(needs_tensorboard, tmp_path, freq, steps):
    one_dense().fit(WORDS, Y, batch_size=10, epochs=2, verbose=0,
                    callbacks=[C.TensorBoard(tmp_path, update_freq=freq, write_graph=False)])
    events = read(tmp_path)
    assert [step for step, _ in curve(events, "loss")] == steps and not events.Tags()["graph"]


def test_histograms_and_pictures(needs_tensorboard, tmp_path):
    model = two_inputs()
    model.fit([WORDS, IMAGES], Y, epochs=3, verbose=0, validation_split=.25, callbacks=[
        C.TensorBoard(tmp_path, histogram_freq=2, batch_size=7, write_grads=True, write_images=True)])
    events = read(tmp_path)
    tags = set(events.Tags()["histograms"])
    weights = {w.name.replace(":", "_") for layer in model.layers for w in layer.weights}
    assert tags == weights | {w + "_grad" for w in weights} | {layer.name + "_out" for layer in model.layers}
    at = events.Histograms("out/kernel_0")
    kernel, now = model.get_layer("out").get_weights()[0], at[1].histogram_value
    assert [h.step for h in at] == [0, 2] and now.num == kernel.size
    np.testing.assert_allclose([now.min, now.max, now.sum], [kernel.min(), kernel.max(), kernel.sum()], rtol=1e-5)
    assert events.Histograms("text_out")[0].histogram_value.sum == WORDS[30:].sum()          # all validation data
    sizes = {tag: (image.height, image.width) for tag in events.Tags()["images"] for image in events.Images(tag)[:1]}
    assert sizes["out/kernel_0/image"] == (2, 147) and sizes["out/bias_0/image"] == (2, 1)
    assert sizes["conv/kernel_0/image/2"] == (3, 3) and "conv/kernel_0/image/3" not in sizes


def test_gradients_of_the_validation_data(needs_tensorboard, tmp_path):
    model = Sequential([L.Dense(1, input_shape=(1,), use_bias=False, name="d")])
    model.compile("sgd", "mse")
    model.set_weights([[[3.]]])
    x = np.ones((4, 1))
    model.fit(x, 3 * x, verbose=0, validation_data=(x, 2 * x), callbacks=[
        C.TensorBoard(tmp_path, histogram_freq=1, write_grads=True)])
    gradient = read(tmp_path).Histograms("d/kernel_0_grad")[0].histogram_value
    assert (gradient.num, gradient.sum) == (1, 2)


def test_the_graph(needs_tensorboard):
    model = two_inputs()
    graph = graph_def(map(node_of, [*model.outputs, model.total_loss]))
    nodes = {node.name: node for node in graph.node}
    assert len(nodes) == len(graph.node) and all(i in nodes for node in graph.node for i in node.input)
    assert nodes["out/kernel"].op == "VariableV2" and nodes["text"].op == "Placeholder" and "lstm/scan" in nodes
    sizes = nodes["text"].attr["_output_shapes"].list.shape[0].dim
    assert [d.size for d in sizes] == [-1, 5] and {"keras_learning_phase", "loss/log"} <= set(nodes)


def test_embeddings(needs_tensorboard, tmp_path):
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig
    (tmp_path / "names.tsv").write_text("\n".join(map(str, range(40))))
    model, logs = two_inputs(), tmp_path / "logs"
    model.fit([WORDS, IMAGES], Y, epochs=2, verbose=0, callbacks=[C.TensorBoard(
        logs, embeddings_freq=1, batch_size=7, embeddings_data=[WORDS, IMAGES],
        embeddings_metadata={"words": tmp_path / "names.tsv"})])
    entry, = text_format.Parse((logs / "projector_config.pbtxt").read_text(), ProjectorConfig()).embeddings
    assert (entry.tensor_path, entry.metadata_path) == ("words_embedding.tsv", "words_labels.tsv")
    assert (logs / entry.metadata_path).read_text() == (tmp_path / "names.tsv").read_text()
    want = Model(model.inputs, model.get_layer("words").output).predict([WORDS, IMAGES]).reshape(40, -1)
    np.testing.assert_allclose(np.loadtxt(logs / entry.tensor_path), want, rtol=1e-5)
    (logs / "here.tsv").write_text("")
    two_inputs().fit([WORDS, IMAGES], Y, verbose=0, callbacks=[C.TensorBoard(
        logs, embeddings_freq=1, embeddings_data=[WORDS, IMAGES], embeddings_layer_names=["lstm"],
        embeddings_metadata="here.tsv")])
    assert 'metadata_path: "here.tsv"' in (logs / "projector_config.pbtxt").read_text()
    assert np.loadtxt(logs / "lstm_embedding.tsv").shape == (40, 3)
    with pytest.warns(UserWarning, match=r"has no layers \['gone'\]; `embeddings_layer_names` are among \['d'\]"):
        one_dense().fit(WORDS, Y, verbose=0, callbacks=[C.TensorBoard(
            tmp_path / "few", embeddings_freq=1, embeddings_data=WORDS, embeddings_layer_names=["gone", "d"])])
    assert np.loadtxt(tmp_path / "few" / "d_embedding.tsv").shape == (40, 2)


def test_generators_and_a_second_fit(needs_tensorboard, tmp_path):
    def forever():
        while True:
            yield WORDS[:8], Y[:8]
    model, board = one_dense(), C.TensorBoard(tmp_path, histogram_freq=1)
    model.fit_generator(forever(), 2, epochs=2, verbose=0, callbacks=[board], validation_data=(WORDS, Y))
    model.fit(WORDS, Y, initial_epoch=2, epochs=3, verbose=0, callbacks=[board], validation_data=(WORDS, Y))
    assert len(list(tmp_path.glob("events*"))) == 2
    with pytest.raises(ValueError, match="validation_data must be provided, and cannot be a generator"):
        model.fit_generator(forever(), 2, verbose=0, callbacks=[board], validation_data=forever(), validation_steps=1)


def test_mistakes(needs_tensorboard, tmp_path):
    with pytest.raises(ValueError, match="If printing histograms, validation_data must be provided"):
        one_dense().fit(WORDS, Y, verbose=0, callbacks=[C.TensorBoard(tmp_path, histogram_freq=1)])
    with pytest.raises(ValueError, match="To visualize embeddings, embeddings_data must be provided"):
        one_dense().fit(WORDS, Y, verbose=0, callbacks=[C.TensorBoard(tmp_path, embeddings_freq=1)])
    with pytest.raises(ValueError, match="`update_freq` of TensorBoard is 'batch', 'epoch' or a number of samples"):
        C.TensorBoard(tmp_path, update_freq="epochs")
    texts = C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(note="fine"))
    with pytest.warns(UserWarning, match="curves of numbers: `note`, which is 'fine', is left out"):
        one_dense().fit(WORDS, Y, verbose=0, callbacks=[texts, C.TensorBoard(tmp_path)])


def test_without_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"TensorBoard needs the package `tensorboard`.* graphk\[tensorboard\]"):
        C.TensorBoard()


def test_buckets():
    values = np.concatenate([RANDOM.randn(1000), [0., 0., 1e30, np.inf, np.nan]])
    h = Histogram()
    h.add(values[:500])
    h.add(values[500:])
    fields = h.fields()
    finite = values[np.isfinite(values)]
    assert h.strange == 2 and fields["num"] == fields["bucket"].sum() == len(finite)
    assert (fields["min"], fields["max"]) == (finite.min(), 1e30)
    limits = np.concatenate([[-np.inf], fields["bucket_limit"]])
    np.testing.assert_array_equal(np.histogram(finite, np.append(limits[:-1], np.inf))[0], fields["bucket"])
    assert Histogram().fields() == {"bucket_limit": [0.], "bucket": [0.]}


@pytest.mark.parametrize("picture, want", [([[0., .5, 1.]], [[0, 127, 255]]),
                                           ([[-2., 0.], [1., 2.]], [[1, 128], [191, 255]]),
                                           ([[0., np.nan]], [[0, 0]])])
def test_pictures(picture, want):
    image = pytest.importorskip("PIL.Image")
    pixels = gray(np.array(picture))
    assert pixels.tolist() == want
    assert np.asarray(image.open(io.BytesIO(png(pixels)))).tolist() == want
