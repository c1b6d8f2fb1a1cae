"""Small networks of tf_keras: `python peer.py FOLDER` writes their weights, some images and what they predict.

In: a folder.  Out: for each case `<name>.h5`, as tf_keras saves weights, and `<name>.npz` with x and y.  What always
holds: vectors of weights are random too, so that each counts.
"""
import sys

import numpy as np

CASES = {"VGG16": (32, 32, {}), "MobileNet": (64, 64, {"alpha": .25}), "MobileNetV2": (65, 64, {"alpha": .35}),
         "DenseNet121": (64, 50, {}), "NASNetMobile": (64, 65, {})}


def main(folder):
    import tf_keras
    rng = np.random.RandomState(0)
    for name, (rows, columns, settings) in CASES.items():
        tf_keras.backend.clear_session()
        function = getattr(tf_keras.applications, name)
        model = function(weights=None, input_shape=(rows, columns, 3), classes=10, **settings)
        for w in model.weights:
            if len(w.shape) == 1:
                around = 1. if "gamma" in w.name or "variance" in w.name else 0.
                w.assign(rng.uniform(around - .2, around + .2, w.shape))
        x = rng.uniform(-1, 1, (2, rows, columns, 3)).astype("float32")
        np.savez(f"{folder}/{name}.npz", x=x, y=model.predict(x, verbose=0))
        model.save_weights(f"{folder}/{name}.h5")


if __name__ == "__main__":
    main(sys.argv[1])
