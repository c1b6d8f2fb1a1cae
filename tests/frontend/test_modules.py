"""What programs put into, or replace in, the modules they know from Keras."""
import importlib
import operator

import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk.layers import Dense
from graphk.models import Sequential

FAMILIES = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers")


@pytest.mark.parametrize("name", [*FAMILIES, "backend", "callbacks", "models"])
def test_a_public_module_is_the_one_that_is_used(name):
    module = getattr(graphk, name)
    assert module is importlib.import_module(f"graphk.{name}") is importlib.import_module(f"graphk.frontend.{name}")


def test_layers_hand_on_what_keras_imported_there():
    from graphk.layers import K, np, warnings
    assert K is importlib.import_module("graphk.backend") and np.__name__ == "numpy" and warnings.__name__ == "warnings"
    with pytest.raises(ImportError, match="cannot import name 'sys' from 'graphk.layers'"):
        from graphk.layers import sys  # noqa: F401


def test_keras_1_names_of_modules():
    assert importlib.import_module("graphk.objectives") is graphk.losses
    assert importlib.import_module("graphk.backend.tensorflow_backend") is K


def test_modules_of_packages_need_no_import_of_their_own():
    for name in ("legacy.interfaces", "layers.core", "layers.recurrent", "layers.merge", "layers.wrappers"):
        module = importlib.import_module(f"graphk.{name}")
        assert operator.attrgetter(name)(graphk) is module


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_put_into_a_module_is_found_by_name(name, monkeypatch):
    def mine(*_):
        return None
    module = getattr(graphk, name)
    with pytest.raises(ValueError, match="mine"):
        module.deserialize({"class_name": "mine", "config": {}} if name == "optimizers" else "mine")
    monkeypatch.setattr(module, "mine", mine, raising=False)
    if name == "optimizers":
        class Mine(module.SGD):
            pass
        monkeypatch.setattr(module, "Mine", Mine, raising=False)
        assert isinstance(module.deserialize({"class_name": "Mine", "config": {"lr": 0.5}}), Mine)
    else:
        assert module.deserialize("mine") is mine


def test_a_model_uses_them(monkeypatch):
    monkeypatch.setattr(graphk.losses, "twice", lambda t, p: 2 * K.mean(K.square(t - p), axis=-1), raising=False)
    monkeypatch.setattr(graphk.activations, "halved", lambda x: x / 2, raising=False)
    model = Sequential([Dense(2, activation="halved", kernel_initializer="ones", input_shape=(3,))])
    model.compile("sgd", "twice")
    x = np.ones((4, 3))
    np.testing.assert_allclose(model.predict(x), 1.5)
    assert model.train_on_batch(x, np.zeros((4, 2))) == pytest.approx(4.5)


def test_a_function_of_k_that_is_replaced(monkeypatch):
    calls, update = [], K.update
    monkeypatch.setattr(K, "update", lambda x, new: calls.append(x) or update(x, new))
    model = Sequential([Dense(2, input_shape=(3,))])
    model.compile(graphk.optimizers.SGD(momentum=0.9), "mse")
    model.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    assert len(calls) == 4                                     # two weights and their velocities


def test_a_star_import_of_layers_brings_layers_alone():
    names: dict = {}
    exec("from graphk.layers import *", names)
    assert {"Dense", "Input", "Layer", "InputSpec", "add", "Merge", "Conv2D", "MaxPool2D"} <= set(names)
    assert not {"Any", "annotations", "modernize", "layer_classes", "rnn_base", "cells"} & set(names)


@pytest.mark.parametrize("module, names", [
    ("layers.convolutional", "_Conv _ZeroPadding _Cropping _UpSampling"), ("layers", "Recurrent"),
    ("legacy.layers", "AtrousConvolution1D AtrousConvolution2D Recurrent"), ("utils", "get_source_inputs"),
    ("utils.layer_utils", "get_source_inputs"), ("utils.conv_utils", "normalize_data_format"),
    ("engine.training", "_make_batches _batch_shuffle _slice_arrays _standardize_input_data _standardize_weights "
     "_standardize_sample_or_class_weights _standardize_class_weights _standardize_sample_weights _check_array_lengths "
     "_check_array_length_consistency _check_loss_and_target_compatibility _check_num_samples _collect_metrics "
     "_weighted_masked_objective _fit_loop _test_loop _predict_loop"),
    ("engine.training_utils", "standardize_single_array check_generator_arguments is_sequence iter_sequence_infinite"),
    ("engine.topology", "_collect_input_shape _collect_previous_mask _to_snake_case _is_all_none _object_list_uid "
     "_to_list save_weights_to_hdf5_group load_weights_from_hdf5_group preprocess_weights_for_loading"),
    ("engine.base_layer", "_collect_input_shape _collect_previous_mask _to_snake_case"),
    ("engine.network", "_make_node_key InputLayer"), ("layers.recurrent", "_standardize_args"),
    ("models", "_clone_functional_model _clone_sequential_model"), ("utils", "convert_all_kernels_in_model"),
    ("utils.generic_utils", "check_for_unexpected_keys"),
    *((f"layers.{name}", "Layer InputSpec") for name in ("core", "convolutional", "convolutional_recurrent", "local",
                                                         "normalization", "pooling", "recurrent", "wrappers"))])
def test_names_that_libraries_import(module, names):
    assert all(hasattr(importlib.import_module(f"graphk.{module}"), name) for name in names.split())
