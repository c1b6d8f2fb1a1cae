"""Every network, layer by layer, is what keras_applications 1.0.8 builds; see record.py."""
import gc
import json

import numpy as np
import pytest

from graphk import applications
from graphk import backend as K

from tests.applications.record import NETWORKS, TABLE, described

WITHOUT_TOP = ["MobileNet", "MobileNetV2"]
SMALL = {"VGG16": {}, "ResNet50V2": {}, "Xception": {}, "MobileNet": {"alpha": .25}, "MobileNetV2": {"alpha": .35},
         "NASNetMobile": {}}


def function(name):
    return getattr(getattr(applications, NETWORKS[name]), name.split(".")[-1])


@pytest.mark.parametrize("name", [*NETWORKS, *[f"{name} without top" for name in WITHOUT_TOP]])
def test_layers(name, zeros):
    plain = name.removesuffix(" without top")
    model = function(plain)(weights=None, include_top=plain == name, pooling="avg")
    assert described(model) == json.loads(TABLE.read_text())[name]
    del model
    gc.collect()                                           # hundreds of megabytes


@pytest.mark.parametrize("name", SMALL)
def test_channels_first(name, zeros):
    """The same layers with the same weights, in the other layout."""
    last = function(name)(weights=None, include_top=False, input_shape=(75, 97, 3), **SMALL[name])
    K.clear_session()
    K.set_image_data_format("channels_first")
    first = function(name)(weights=None, include_top=False, input_shape=(3, 75, 97), **SMALL[name])
    for a, b in zip(last.layers, first.layers, strict=True):
        assert (a.name, [w.shape for w in a.weights]) == (b.name, [w.shape for w in b.weights])
        *batch, rows, columns, channels = a.output_shape
        assert b.output_shape == (*batch, channels, rows, columns)


def test_both_layouts_predict_the_same():
    def built(shape, **wish):
        K.clear_session()
        np.random.seed(0)
        return applications.MobileNet(shape, weights=None, alpha=.25, classes=7, **wish)
    x = np.random.RandomState(0).uniform(-1, 1, (2, 32, 32, 3))
    want = built((32, 32, 3)).predict(x)
    K.set_image_data_format("channels_first")
    model = built((3, 32, 32))
    np.testing.assert_allclose(model.predict(np.moveaxis(x, -1, 1)), want, rtol=1e-4)
    assert want.shape == (2, 7) and model.name == "mobilenet_0.25_32"
