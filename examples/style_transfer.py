"""One image in the style of another: its content by features of a network, its style by how features occur together.

The loss is that of Gatys, Ecker and Bethge (2015).  Their network is VGG19, trained; here a few layers of random
filters do, which are known to tell textures apart, so nothing need be downloaded.  Writes style.ppm where --save is
given.
"""
import sys

import numpy as np

from graphk import backend as K
from graphk.layers import AveragePooling2D, Conv2D
from graphk.models import Model, Sequential

QUICK = "--quick" in sys.argv
SIZE = 32 if QUICK else 64

np.random.seed(1)
across, down = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
disc = (across ** 2 + down ** 2 < .5).astype("float32")
content = np.stack([disc, 1 - disc, .5 * np.ones_like(disc)], -1)[None]
waves = .5 + .5 * np.sin(20 * across + 6 * np.sin(8 * down))
style = np.stack([waves, .3 * waves, 1 - waves], -1)[None]

layers = []
for filters in (16, 32, 32):
    layers += [Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal",
                      **({} if layers else {"input_shape": (SIZE, SIZE, 3)})), AveragePooling2D()]
network = Sequential(layers)
features = Model(network.inputs, [layer.output for layer in network.layers[::2]])


def gram(x):
    """How often features occur together, whatever the place."""
    rows = K.reshape(x, (-1, K.int_shape(x)[-1]))
    return K.dot(K.transpose(rows), rows) / float(np.prod(K.int_shape(x)[1:]))


image = network.input
of_content, of_style = (features.predict(x) for x in (content, style))
loss = 0.05 * K.mean(K.square(features.outputs[-1] - K.constant(of_content[-1])))
for mine, theirs in zip(features.outputs, of_style):
    loss += K.sum(K.square(gram(mine) - gram(K.constant(theirs))))
loss += 0.001 * K.mean(K.square(image[:, 1:] - image[:, :-1])) + 0.001 * K.mean(
    K.square(image[:, :, 1:] - image[:, :, :-1]))
step = K.function([image], [loss, K.gradients(loss, [image])[0]])

x, m, v = content + .1 * np.random.randn(*content.shape), 0., 0.
for t in range(1, (10 if QUICK else 200) + 1):                      # Adam, by hand
    value, g = step([x])
    m, v = .9 * m + .1 * g, .999 * v + .001 * g ** 2
    x = np.clip(x - .02 * (m / (1 - .9 ** t)) / (np.sqrt(v / (1 - .999 ** t)) + 1e-8), 0, 1)
    if t in (1, 10, 50, 100, 200):
        print(f"step {t}: loss {value:.4f}")
if "--save" in sys.argv:
    with open("style.ppm", "wb") as f:
        f.write(b"P6 %d %d 255\n" % (SIZE, SIZE) + (x[0] * 255).astype("uint8").tobytes())
    print("wrote style.ppm")
