"""The callback that writes what TensorBoard shows.

In: the logs, weights, gradients, outputs and graph of a model in training.  Out: event files, and tables for the
projector.  What always holds: tags and steps are those of Keras 2.2; the package `tensorboard` is imported when the
callback is made.
"""
from __future__ import annotations

import os
import warnings
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.callbacks.base import Callback
from graphk.frontend.callbacks.event_files import OWNER, EventFile, Histogram
from graphk.frontend.engine.training_utils import standardize_input_data
from graphk.frontend.function import Function
from graphk.frontend.tensor import node_of
from graphk.frontend.utils.optional import need


class TensorBoard(Callback):
    """Writes files for TensorBoard: `tensorboard --logdir=logs` shows them.  Needs `pip install graphk[tensorboard]`.

    log_dir: where to; histogram_freq: every how many epochs histograms of weights and of the outputs of layers for the
    validation data are written (0: never); batch_size: of the data that histograms and embeddings are computed with;
    write_graph: the operations of the model; write_grads, write_images: with the histograms, also those of gradients,
    and weights as pictures; update_freq: loss and metrics after each 'epoch', each 'batch', or that many samples.

    embeddings_freq: every how many epochs the outputs of the layers `embeddings_layer_names` (by default all Embedding
    layers) for `embeddings_data` are written for the projector; embeddings_metadata: the file with their labels, or a
    dict of files by layer.
    """

    def __init__(self, log_dir: Any = "./logs", histogram_freq: int = 0, batch_size: int = 32, write_graph: bool = True,
                 write_grads: bool = False, write_images: bool = False, embeddings_freq: int = 0,
                 embeddings_layer_names: Sequence[str] | None = None, embeddings_metadata: Any = None,
                 embeddings_data: Any = None, update_freq: Any = "epoch"):
        super().__init__()
        need("tensorboard", "tensorboard", OWNER)
        number = isinstance(update_freq, (int, np.integer)) and update_freq > 0
        if update_freq not in ("batch", "epoch") and not number:
            raise ValueError("`update_freq` of TensorBoard is 'batch', 'epoch' or a number of samples; received "
                             f"{update_freq!r}.")
        self.log_dir, self.histogram_freq, self.batch_size = log_dir, histogram_freq, batch_size
        self.write_graph, self.write_grads, self.write_images = write_graph, write_grads, write_images
        self.embeddings_freq, self.embeddings_layer_names = embeddings_freq, embeddings_layer_names
        self.embeddings_metadata, self.embeddings_data = embeddings_metadata, embeddings_data
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.samples_seen = self.samples_seen_at_last_write = 0

    def set_model(self, model: Any) -> None:
        self.model = model
        self.writer = EventFile(self.log_dir)
        self._watched: Function | None = None
        if self.write_graph:
            self.writer.graph(map(node_of, [*model.outputs, model.total_loss]))

    # ---------------------------------------------------------------- loss and metrics
    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.update_freq == "epoch":
            return
        logs = logs or {}
        self.samples_seen += logs.get("size", 0)
        if self.samples_seen - self.samples_seen_at_last_write >= self.update_freq:
            self._write_logs(logs, self.samples_seen)
            self.samples_seen_at_last_write = self.samples_seen

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.histogram_freq and not self.validation_data:
            raise ValueError("If printing histograms, validation_data must be provided, and cannot be a generator.")
        if self.embeddings_freq and self.embeddings_data is None:
            raise ValueError("To visualize embeddings, embeddings_data must be provided.")
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
            self._write_outputs(epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            self._write_embeddings()
        self._write_logs(logs or {}, epoch if self.update_freq == "epoch" else self.samples_seen)

    def _write_logs(self, logs: Mapping[str, Any], step: int) -> None:
        self.writer.scalars({k: v for k, v in logs.items() if k not in ("batch", "size")}, step)
        self.writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.writer.close()

    # ---------------------------------------------------------------- histograms
    def _write_weights(self, epoch: int) -> None:
        for layer in self.model.layers:
            for weight in layer.weights:
                value = K.get_value(weight)
                self._write_histogram(_tag(weight), [value], epoch)
                pictures = _pictures(value) if self.write_images else None
                if pictures is not None:
                    self.writer.images(_tag(weight), pictures, epoch)

    def _write_histogram(self, tag: str, values: Sequence[np.ndarray], epoch: int) -> None:
        histogram = Histogram()
        for value in values:
            histogram.add(value)
        self.writer.histogram(tag, histogram, epoch)

    def _write_outputs(self, epoch: int) -> None:
        """Histograms of outputs and gradients over all the validation data."""
        feeds = self.model._all_feeds()
        if self._watched is None:
            tensors = self._outputs_and_gradients()
            self._tags = list(tensors)
            self._watched = Function(feeds + self.model._phase(), list(tensors.values()), name="tensorboard")
        histograms = {tag: Histogram() for tag in self._tags}
        for batch in _batches(self.validation_data[:len(feeds)], self.batch_size):
            for histogram, value in zip(histograms.values(), self._watched.run(batch, 0)):
                histogram.add(value)
        for tag, histogram in histograms.items():
            self.writer.histogram(tag, histogram, epoch)

    def _outputs_and_gradients(self) -> dict[str, Any]:
        found = {}
        for layer in self.model.layers:
            if hasattr(layer, "output"):                   # a layer that is called several times has none of its own
                outputs = layer.output
                named = outputs if isinstance(outputs, list) else [outputs]
                found.update({f"{layer.name}_out" + (f"_{i}" if named is outputs else ""): y
                              for i, y in enumerate(named)})
        if self.write_grads:
            weights = [w for layer in self.model.layers for w in layer.trainable_weights]
            gradients = self.model.optimizer.get_gradients(self.model.total_loss, weights)
            found.update({f"{_tag(w)}_grad": g for w, g in zip(weights, gradients)})
        return found

    # ---------------------------------------------------------------- embeddings
    def _write_embeddings(self) -> None:
        """A table of the latest outputs of each chosen layer, and the file that tells the projector of the tables."""
        projector = need("tensorboard.plugins.projector", "tensorboard", OWNER)
        config = projector.ProjectorConfig()
        layers = self._embedding_layers()
        data = standardize_input_data(self.embeddings_data, self.model.input_names)
        f = Function(self.model.inputs + self.model._phase(), [layer.output for layer in layers], name="embeddings")
        parts = [f.run(batch, 0) for batch in _batches(data, self.batch_size)]
        for layer, values in zip(layers, zip(*parts)):
            table = np.concatenate(values)
            entry = config.embeddings.add(tensor_name=f"{layer.name}_embedding",
                                          tensor_path=f"{layer.name}_embedding.tsv")
            np.savetxt(os.path.join(self.log_dir, entry.tensor_path), table.reshape(len(table), -1), "%.7g", "\t")
            labels = self.embeddings_metadata
            labels = labels.get(layer.name) if isinstance(labels, Mapping) else labels
            if labels is not None:
                entry.metadata_path = self._within(os.fspath(labels), f"{layer.name}_labels.tsv")
        projector.visualize_embeddings(os.fspath(self.log_dir), config)

    def _within(self, path: str, name: str) -> str:
        """A file's path from `log_dir`, which TensorBoard reads nothing outside of: one from elsewhere is copied there.
        """
        found = os.path.join(self.log_dir, path)
        if not os.path.exists(found):
            found = os.path.abspath(path)
        inside = os.path.relpath(found, self.log_dir)
        if not inside.startswith(os.pardir):
            return inside
        import shutil                                  # which brings every compression there is
        return os.path.basename(shutil.copyfile(found, os.path.join(self.log_dir, name)))

    def _embedding_layers(self) -> list[Any]:
        layers = {layer.name: layer for layer in self.model.layers}
        names = self.embeddings_layer_names or [k for k, v in layers.items() if type(v).__name__ == "Embedding"]
        missing = [name for name in names if name not in layers]
        if missing:
            warnings.warn(f"TensorBoard: the model `{self.model.name}` has no layers {missing}; "
                          f"`embeddings_layer_names` are among {list(layers)}.", stacklevel=2)
        return [layer for name, layer in layers.items() if name in names]


def _tag(weight: Any) -> str:
    return weight.name.replace(":", "_")


def _batches(arrays: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(arrays[0]), size):
        yield [a[start:start + size] for a in arrays]


def _pictures(weight: np.ndarray) -> np.ndarray | None:
    """A weight as pictures (count, height, width): a matrix lies on its longer side, a kernel of three axes is a
    picture for each of its channels; None for more axes."""
    value = np.squeeze(weight)
    if value.ndim == 1:
        return value.reshape(1, -1, 1)
    if value.ndim == 2:
        return (value.T if value.shape[0] > value.shape[1] else value)[None]
    if value.ndim == 3:
        return value.transpose(2, 0, 1) if K.image_data_format() == "channels_last" else value
    return None
