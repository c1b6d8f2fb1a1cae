"""Writes networks.json: what keras_applications 1.0.8 builds, by `python -m tests.applications.record`.

In: the package keras_applications in the environment, which builds with the layers it is given: graphk's.  Out: for
each network, with and without its classifier, the numbers of parameters and layers and a digest of all in order.
"""
import hashlib
import json
from pathlib import Path

TABLE = Path(__file__).parent / "networks.json"
# Where each network is.  `resnet` has a ResNet50 of its own.
NETWORKS = {"VGG16": "vgg16", "VGG19": "vgg19", "ResNet50": "resnet50", "resnet.ResNet50": "resnet",
            "ResNet101": "resnet", "ResNet152": "resnet", "ResNet50V2": "resnet_v2", "ResNet101V2": "resnet_v2",
            "ResNet152V2": "resnet_v2", "InceptionV3": "inception_v3", "InceptionResNetV2": "inception_resnet_v2",
            "Xception": "xception", "MobileNet": "mobilenet", "MobileNetV2": "mobilenet_v2", "DenseNet121": "densenet",
            "DenseNet169": "densenet", "DenseNet201": "densenet", "NASNetMobile": "nasnet", "NASNetLarge": "nasnet"}
SETTINGS = ("strides", "padding", "pool_size", "kernel_size", "activation", "use_bias", "scale", "epsilon", "momentum",
            "rate", "max_value", "arguments", "units", "filters", "depth_multiplier")


def described(model):
    """[parameters, layers, digest]: the digest of each layer's name, class, settings, inputs, output and weights."""
    lines = [model.name]
    for layer in model.layers:
        config = layer.get_config()
        config = [(k, str(config[k])) for k in SETTINGS if k in config]
        inputs = [x.name for x in layer._inbound_nodes[0].inbound_layers]
        weights = [tuple(w.shape) for w in layer.weights]
        lines.append(repr((layer.name, type(layer).__name__, config, inputs, layer.output_shape, weights)))
    return [model.count_params(), len(model.layers), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]]


def main():
    import importlib

    from graphk import backend, layers, models, utils
    table = {}
    for name, module in NETWORKS.items():
        function = getattr(importlib.import_module(f"keras_applications.{module}"), name.split(".")[-1])
        for top in (True, False):
            backend.clear_session()
            model = function(include_top=top, weights=None, pooling="avg",
                             backend=backend, layers=layers, models=models, utils=utils)
            table[f"{name}{'' if top else ' without top'}"] = described(model)
    TABLE.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table.items()) + "\n}\n")


if __name__ == "__main__":
    main()
