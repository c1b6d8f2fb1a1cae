"""A denoising autoencoder: convolutions squeeze a noisy digit, transposed ones draw it clean.

Prints how far the drawings are from the clean digits, and one of them as text.
"""
import sys

import numpy as np

from graphk.datasets import digits
from graphk.layers import Conv2D, Conv2DTranspose, Input
from graphk.models import Model

QUICK = "--quick" in sys.argv


def shown(image):
    """A digit as text, every second row."""
    return "\n".join("".join(" .:*#"[min(4, int(p * 5))] for p in row) for row in image[::2])


np.random.seed(1)
(x_train, _), (x_test, _) = digits.load_data()
x_train, x_test = (x[..., None].astype("float32") / 255 for x in (x_train, x_test))
if QUICK:
    x_train, x_test = x_train[:256], x_test[:64]
noisy_train, noisy_test = (np.clip(x + np.random.normal(0, .4, x.shape), 0, 1) for x in (x_train, x_test))

image = Input((28, 28, 1))
code = Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
code = Conv2D(8, 3, strides=2, padding="same", activation="relu")(code)
drawn = Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu")(code)
drawn = Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(drawn)
model = Model(image, Conv2D(1, 3, padding="same", activation="sigmoid")(drawn))
encoder = Model(image, code)

model.compile("adam", "binary_crossentropy", metrics=["mse"])
model.fit(noisy_train, x_train, batch_size=64, epochs=1 if QUICK else 8, verbose=2,
          validation_data=(noisy_test, x_test))
clean = model.predict(noisy_test)
print(f"{np.prod(encoder.output_shape[1:])} numbers stand for 784 pixels; mean square error "
      f"{np.mean((clean - x_test) ** 2):.4f}, of the noisy images {np.mean((noisy_test - x_test) ** 2):.4f}")
print(shown(noisy_test[0, ..., 0]), shown(clean[0, ..., 0]), sep="\n" + "-" * 28 + "\n")
