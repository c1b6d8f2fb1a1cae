"""A variational autoencoder (Kingma and Welling, 2014): digits from two random numbers.

The model's loss is its own: a tensor added by `add_loss`.  Prints a row of digits drawn from points of the plane.
"""
import sys

import numpy as np

from graphk import backend as K
from graphk import losses
from graphk.datasets import digits
from graphk.layers import Dense, Input, Lambda
from graphk.models import Model

QUICK = "--quick" in sys.argv
LATENT = 2


def sampled(parts):
    """A point around `mean`, as far as `log_variance` says; its gradient goes to both."""
    mean, log_variance = parts
    return mean + K.exp(0.5 * log_variance) * K.random_normal(K.shape(mean))


np.random.seed(1)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, x_test = (x.reshape(len(x), 784).astype("float32") / 255 for x in (x_train, x_test))

inputs = Input((784,))
hidden = Dense(256, activation="relu")(inputs)
mean, log_variance = Dense(LATENT, name="mean")(hidden), Dense(LATENT, name="log_variance")(hidden)
encoder = Model(inputs, [mean, log_variance, Lambda(sampled, output_shape=(LATENT,))([mean, log_variance])])

latent = Input((LATENT,))
decoder = Model(latent, Dense(784, activation="sigmoid")(Dense(256, activation="relu")(latent)))

outputs = decoder(encoder(inputs)[2])
model = Model(inputs, outputs)
drawing = 784 * losses.binary_crossentropy(inputs, outputs)
spread = -0.5 * K.sum(1 + log_variance - K.square(mean) - K.exp(log_variance), axis=-1)
model.add_loss(K.mean(drawing + spread))
model.compile("adam")
model.fit(x_train, epochs=1 if QUICK else 20, batch_size=128, verbose=2, validation_data=(x_test, None))

plane = np.array([[x, y] for y in (-1., 1.) for x in np.linspace(-1.5, 1.5, 4)])
images = decoder.predict(plane).reshape(2, 4, 28, 28)
for row in images:
    for line in np.concatenate(list(row), axis=1)[::2]:
        print("".join(" .:*#"[min(4, int(p * 5))] for p in line))
