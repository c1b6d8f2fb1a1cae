"""What networks are asked for: weights, shapes, tensors, ends; and what is refused."""
import inspect
import pickle

import numpy as np
import pytest

from graphk import applications, models, utils
from graphk import backend as K
from graphk.applications import building, mobilenet
from graphk.applications.imagenet_utils import _obtain_input_shape
from graphk.layers import Conv2D, Input

SMALL = {"input_shape": (32, 32, 3), "alpha": .25, "weights": None, "include_top": False}


@pytest.mark.parametrize("name, wish, says", [
    ("VGG16", {"weights": "nowhere.h5"}, r"`weights` argument should be either.*nowhere\.h5"),
    ("VGG16", {"classes": 10}, "`classes` should be 1000.*classes=10"),
    ("VGG19", {"weights": None, "input_shape": (31, 32, 3)}, "at least 32x32"),
    ("InceptionV3", {"weights": None, "include_top": False, "input_shape": (74, 299, 3)}, "at least 75x75"),
    ("Xception", {"weights": None, "include_top": False, "input_shape": (70, 70, 3)}, "at least 71x71"),
    ("ResNet50", {"weights": None, "input_shape": (224, 224)}, "tuple of three integers"),
    ("ResNet50", {"input_shape": (64, 64, 3)}, r"`input_shape` should be \(224, 224, 3\)"),
    ("ResNet50", {"include_top": False, "input_shape": (64, 64, 1)}, "must have 3 channels"),
    ("ResNet50", {"weights": None, "input_shape": (None, None, 3)}, "specify a static `input_shape`"),
    ("MobileNet", {"alpha": .3}, "`0.25`, `0.5`, `0.75` or `1.0` only.*alpha=0.3"),
    ("MobileNet", {"depth_multiplier": 2}, "depth multiplier must be 1"),
    ("MobileNetV2", {"alpha": .25}, "alpha can be one of `0.35`"),
    ("NASNetMobile", {"weights": None, "include_top": False, "input_shape": (None, 64, 3)}, "no None entries")])
def test_mistakes(name, wish, says):
    with pytest.raises(ValueError, match=says):
        getattr(applications, name)(**wish)


def test_other_mistakes():
    with pytest.raises(ValueError, match="multiple of 24"):
        applications.nasnet.NASNet((32, 32, 3), penultimate_filters=100)
    with pytest.raises(ValueError, match="default_size=100"):
        applications.nasnet.NASNet(default_size=100, weights="imagenet")
    with pytest.raises(TypeError, match="Invalid keyword argument.*`size`"):
        applications.VGG16(weights=None, size=3)
    with pytest.raises(ValueError, match="do not meet the same shape"):
        applications.MobileNetV2((64, 64, 3), weights=None, input_tensor=Input((32, 32, 3)))
    with pytest.warns(UserWarning, match="1 or 3 input channels.*4"):
        _obtain_input_shape((32, 32, 4), 224, 32, "channels_last", False)
    with pytest.warns(UserWarning, match="pooling='median'"):
        applications.MobileNet(**SMALL, pooling="median")
    with pytest.warns(UserWarning, match="depth_multiplier=2"):
        applications.MobileNetV2((32, 32, 3), .35, 2, weights=None, include_top=False)


@pytest.mark.parametrize("shape, flat, want", [
    (None, True, (224, 224, 3)), (None, False, (None, None, 3)), ((50, None, 1), False, (50, None, 1))])
def test_input_shapes(shape, flat, want):
    assert _obtain_input_shape(shape, 224, 32, "channels_last", flat) == want
    first = shape and shape[-1:] + shape[:-1]
    assert _obtain_input_shape(first, 224, 32, "channels_first", flat) == want[-1:] + want[:-1]


def test_signatures():
    first = list(inspect.signature(applications.VGG16).parameters)
    assert first == ["include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "kwargs"]
    for name in ("VGG19", "ResNet50", "ResNet152V2", "InceptionV3", "InceptionResNetV2", "Xception", "DenseNet201"):
        function = getattr(applications, name)
        assert list(inspect.signature(function).parameters) == first
        assert function.__name__ == name and "classes: of the classifier" in function.__doc__
        assert pickle.loads(pickle.dumps(function)) is function
    assert list(inspect.signature(applications.MobileNet).parameters)[:5] == [
        "input_shape", "alpha", "depth_multiplier", "dropout", "include_top"]
    assert list(inspect.signature(applications.MobileNetV2).parameters)[:4] == [
        "input_shape", "alpha", "depth_multiplier", "include_top"]
    assert list(inspect.signature(applications.NASNetMobile).parameters)[:3] == [
        "input_shape", "include_top", "weights"]


def test_modules_for_keras_applications(zeros):
    """What packages written for keras_applications pass and get."""
    def asked(**kwargs):
        return kwargs
    given = applications.keras_modules_injection(asked)(x=1)
    assert set(given) == {"backend", "layers", "models", "utils", "x"} and given["models"] is models
    assert given["utils"] is utils
    del given["x"]
    assert applications.MobileNet(**SMALL, **given).output_shape == (None, 1, 1, 256)
    assert applications.mobilenetv2.MobileNetV2 is applications.MobileNetV2
    assert mobilenet.DepthwiseConv2D(3).name and mobilenet.relu6 is not None


def test_pooling(zeros):
    assert applications.MobileNet(**SMALL).output_shape == (None, 1, 1, 256)
    assert applications.MobileNet(**SMALL, pooling="max").layers[-1].name == "global_max_pooling2d_1"
    model = applications.DenseNet121(False, None, None, (32, 32, 3), "avg")
    assert model.output_shape == (None, 1024) and model.layers[-1].name == "avg_pool"


def test_an_open_size(zeros):
    model = applications.MobileNetV2(weights=None, include_top=False, alpha=.35)
    assert model.output_shape == (None, None, None, 1280) and model.name == "mobilenetv2_0.35_None"


def test_input_tensors(zeros):
    wish = {"weights": None, "alpha": .25, "include_top": False}
    entry = Input((40, 40, 1))
    model = applications.MobileNet(input_tensor=Conv2D(3, 1)(entry), **wish)
    assert model.inputs == [entry] and model.layers[2].name == "conv1_pad"
    plain = applications.MobileNet(input_tensor=K.placeholder((None, 32, 32, 3)), **wish)
    assert plain.layers[0].__class__.__name__ == "InputLayer" and plain.output_shape == (None, 1, 1, 256)
    assert applications.MobileNetV2(input_tensor=Input((96, 96, 3)), weights=None, alpha=.35).name.endswith("_96")


def test_weights_of_a_file(tmp_path):
    wish = {"input_shape": (32, 32, 3), "alpha": .25, "classes": 5}
    model = mobilenet.MobileNet(weights=None, **wish)
    path = str(tmp_path / "weights.h5")
    model.save_weights(path)
    loaded = mobilenet.MobileNet(weights=path, **wish)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    features = mobilenet.MobileNet(weights=None, include_top=False, **wish)
    features.load_weights(path, by_name=True)
    np.testing.assert_array_equal(features.get_layer("conv_pw_13").get_weights()[0],
                                  model.get_layer("conv_pw_13").get_weights()[0])


@pytest.mark.parametrize("name, wish, file, origin, known", [
    ("VGG16", {}, "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "fchollet/deep-learning-models", True),
    ("ResNet50V2", {}, "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "keras-team/keras-applications", True),
    ("MobileNet", {"alpha": .5, "input_shape": (128, 128, 3)}, "mobilenet_5_0_128_tf_no_top.h5", "v0.6/", False),
    ("MobileNetV2", {"alpha": 1, "input_shape": (96, 96, 3)},
     "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5", "JonathanCMitchell", False),
    ("NASNetMobile", {}, "nasnet_mobile_no_top.h5", "NASNet-mobile-no-top.h5", True)])
def test_published_weights(name, wish, file, origin, known, zeros, monkeypatch):
    asked, loaded = [], []
    monkeypatch.setattr(building, "get_file", lambda *a, **k: asked.append((*a, k)) or "there.h5")
    monkeypatch.setattr(models.Model, "load_weights", lambda self, path: loaded.append(path))
    getattr(applications, name)(include_top=False, **wish)
    [(asked_file, url, how)] = asked
    assert asked_file == file and origin in url and url.startswith("https://") and how["cache_subdir"] == "models"
    assert (how["file_hash"] is not None) == known and loaded == ["there.h5"]


def test_sizes_without_published_weights(zeros, monkeypatch):
    monkeypatch.setattr(building, "get_file", lambda name, *a, **k: name)
    loaded = []
    monkeypatch.setattr(models.Model, "load_weights", lambda self, path: loaded.append(path))
    with pytest.warns(UserWarning, match="input shape \\(224, 224\\) will be loaded"):
        applications.MobileNet((100, 100, 3), include_top=False)
    assert loaded == ["mobilenet_1_0_224_tf_no_top.h5"]
