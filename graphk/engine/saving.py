"""Keras's `engine.saving`: whole models, and the functions that programs call with open groups.

In: models, layers, paths, h5py groups (or `h5dict`s).  Out: files, weights.  What always holds: the work is done in
`graphk.frontend.saving`.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.frontend.models import model_from_config, model_from_json, model_from_yaml
from graphk.frontend.saving.convert import converted
from graphk.frontend.saving.errors import GraphkFormatError
from graphk.frontend.saving.hdf5 import HEADER_LIMIT as HDF5_OBJECT_HEADER_LIMIT
from graphk.frontend.saving.hdf5 import Place, put_texts, reading
from graphk.frontend.saving.model_files import load_model, load_weights, save_model, save_weights
from graphk.frontend.saving.weights import load_by_name, load_in_order, write_weights


def _group(group: Any) -> Any:
    return getattr(group, "data", group)                 # of an h5dict


def save_weights_to_hdf5_group(group: Any, layers: Sequence[Any]) -> None:
    """Put the weights of `layers` into an empty group."""
    write_weights(_group(group), layers)


def load_weights_from_hdf5_group(group: Any, layers: Sequence[Any], reshape: bool = False) -> None:
    """Give the layers that have weights those of the group, in order; GraphkFormatError if they do not fit."""
    with reading(_group(group)) as place:
        load_in_order(place, layers, reshape)


def load_weights_from_hdf5_group_by_name(group: Any, layers: Sequence[Any], skip_mismatch: bool = False,
                                         reshape: bool = False) -> None:
    """Give the layers whose names the group has their weights; GraphkFormatError if they do not fit."""
    with reading(_group(group)) as place:
        load_by_name(place, layers, skip_mismatch, reshape)


def preprocess_weights_for_loading(layer: Any, weights: Sequence[np.ndarray],
                                   original_keras_version: str | None = None, original_backend: str | None = None,
                                   reshape: bool = False) -> list[np.ndarray]:
    """Arrays for `layer.weights` from those that another version of Keras, or another back end, stored for it.

    >>> from graphk import layers
    >>> cell = layers.CuDNNLSTM(2)
    >>> _ = cell(layers.Input((5, 3)))
    >>> [a.shape for a in preprocess_weights_for_loading(cell, [np.ones((3, 8)), np.ones((2, 8)), np.ones(8)])]
    [(3, 8), (2, 8), (16,)]
    """
    version = (original_keras_version or "2").split(".")[0]
    return converted(layer, list(weights), version, original_backend, reshape)


def save_attributes_to_hdf5_group(group: Any, name: str, data: Sequence[Any]) -> None:
    """A list of texts as an attribute, split into `name0`, `name1`, … where it is too long for one."""
    put_texts(_group(group), name, [d if isinstance(d, str) else bytes(d).decode("utf-8") for d in data])


def load_attributes_from_hdf5_group(group: Any, name: str) -> list[str]:
    """The list of texts that `save_attributes_to_hdf5_group` wrote; empty if there is none."""
    return Place(_group(group), "<group>").texts(name) or []


__all__ = ["GraphkFormatError", "HDF5_OBJECT_HEADER_LIMIT", "load_attributes_from_hdf5_group", "load_model",
           "load_weights", "load_weights_from_hdf5_group", "load_weights_from_hdf5_group_by_name", "model_from_config",
           "model_from_json", "model_from_yaml", "preprocess_weights_for_loading", "save_attributes_to_hdf5_group",
           "save_model", "save_weights", "save_weights_to_hdf5_group"]
