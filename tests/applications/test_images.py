"""Images on their way in, and names of classes on their way out."""
import doctest
import json

import numpy as np
import pytest

from graphk import applications
from graphk import backend as K
from graphk.applications import imagenet_utils
from graphk.layers import Input, Lambda
from graphk.models import Model

RGB = np.array([10., 130., 255.])
WANT = {"caffe": [255 - 103.939, 130 - 116.779, 10 - 123.68], "tf": RGB / 127.5 - 1,
        "torch": (RGB / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]}
MODE = {"vgg16": "caffe", "vgg19": "caffe", "resnet50": "caffe", "resnet": "caffe", "resnet_v2": "tf",
        "inception_v3": "tf", "inception_resnet_v2": "tf", "xception": "tf", "mobilenet": "tf", "mobilenet_v2": "tf",
        "mobilenetv2": "tf", "nasnet": "tf", "densenet": "torch"}


def image(data_format, dtype, batch):
    x = np.broadcast_to(RGB, (2, 3, 3)) if data_format == "channels_last" else np.broadcast_to(RGB[:, None, None],
                                                                                              (3, 2, 3))
    return np.array(x[None] if batch else x, dtype)


@pytest.mark.parametrize("mode", WANT)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch", [False, True])
def test_modes(mode, data_format, dtype, batch):
    x = image(data_format, dtype, batch)
    pixels = np.array(WANT[mode])
    want = np.broadcast_to(pixels if data_format == "channels_last" else pixels[:, None, None], x.shape)
    symbolic = imagenet_utils.preprocess_input(K.constant(x, dtype), data_format, mode)
    np.testing.assert_allclose(K.eval(symbolic), want, rtol=1e-4, atol=1e-5)
    got = imagenet_utils.preprocess_input(x, data_format, mode)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert got.dtype == ("float32" if dtype == "uint8" else dtype)
    assert np.shares_memory(got, x) == (dtype != "uint8"), "arrays of floats are changed in place"


@pytest.mark.parametrize("name", MODE)
def test_each_module_has_its_mode(name):
    module = getattr(applications, name)
    x = image("channels_last", "float64", True)
    np.testing.assert_allclose(module.preprocess_input(x)[0, 0, 0], WANT[MODE[name]], rtol=1e-6)
    assert module.decode_predictions is imagenet_utils.decode_predictions


@pytest.mark.parametrize("module", [imagenet_utils, applications.mobilenet])
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_the_configured_layout_is_the_default():
    K.set_image_data_format("channels_first")
    x = image("channels_first", "float64", False)
    np.testing.assert_allclose(imagenet_utils.preprocess_input(x)[:, 0, 0], WANT["caffe"])


def test_in_a_layer():
    x = Input((2, 3, 3))
    model = Model(x, Lambda(applications.vgg16.preprocess_input)(x))
    got = model.predict(image("channels_last", "float32", True))
    np.testing.assert_allclose(got[0, 0, 0], WANT["caffe"], rtol=1e-5)


@pytest.mark.parametrize("x, wish, error, says", [
    (np.ones((2, 2, 3)), {"data_format": "last"}, ValueError, "Unknown data_format last"),
    (np.ones((2, 2, 3)), {"mode": "bgr"}, ValueError, "unknown mode 'bgr'"),
    (np.ones((2, 3)), {}, ValueError, r"shape \(2, 3\)"), ([[[1, 2, 3]]], {}, TypeError, "list"),
    (np.ones((2, 2, 3)), {"color": 1}, TypeError, "Invalid keyword argument.*color")])
def test_mistakes(x, wish, error, says):
    with pytest.raises(error, match=says):
        imagenet_utils.preprocess_input(x, **wish)


def test_decode_predictions(monkeypatch, tmp_path):
    file = tmp_path / "imagenet_class_index.json"
    file.write_text(json.dumps({str(i): [f"n{i:08}", f"thing_{i}"] for i in range(1000)}))
    asked = []
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", None)
    monkeypatch.setattr(imagenet_utils, "get_file", lambda *a, **k: asked.append((a, k)) or str(file))
    rows = np.zeros((2, 1000))
    rows[0, [7, 3]] = .6, .4
    rows[1, 999] = 1.
    got = imagenet_utils.decode_predictions(rows, top=2)
    assert got[0] == [("n00000007", "thing_7", .6), ("n00000003", "thing_3", .4)]
    assert got[1][0] == ("n00000999", "thing_999", 1.) and len(got[1]) == 2
    assert len(imagenet_utils.decode_predictions(rows)[0]) == 5
    assert [(a[0], k["cache_subdir"]) for a, k in asked] == [("imagenet_class_index.json", "models")]


@pytest.mark.parametrize("shape", [(1000,), (2, 10)])
def test_decode_predictions_wants_a_thousand_classes(shape):
    with pytest.raises(ValueError, match=r"\(samples, 1000\)"):
        imagenet_utils.decode_predictions(np.ones(shape))


def test_decode_predictions_without_a_network(monkeypatch, tmp_path):
    import urllib.request
    from urllib.error import URLError

    def unreachable(*args, **kwargs):
        raise URLError("no network")
    monkeypatch.setenv("GRAPHK_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", None)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(OSError, match="imagenet_class_index.json"):
        imagenet_utils.decode_predictions(np.ones((1, 1000)))
