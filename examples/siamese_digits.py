"""Do two images show the same digit? Two towers with shared weights, and the distance of what they see.

The contrastive loss (Hadsell, Chopra, LeCun, 2006) pulls pairs of one digit together and pushes others apart.
"""
import sys

import numpy as np

from graphk import backend as K
from graphk.datasets import digits
from graphk.layers import Dense, Dropout, Input, Lambda
from graphk.models import Model, Sequential

QUICK = "--quick" in sys.argv
MARGIN = 1.


def pairs(x, y, count):
    """Images (count, 2, 784), one half of them of the same digit, and whether they are."""
    by_digit = [np.flatnonzero(y == d) for d in range(10)]
    rows, same = [], np.arange(count) % 2 == 0
    for alike in same:
        d = np.random.randint(10)
        other = d if alike else (d + np.random.randint(1, 10)) % 10
        rows.append([np.random.choice(by_digit[d]), np.random.choice(by_digit[other])])
    return x[np.array(rows)], same.astype("float32")


def distance(towers):
    """The Euclidean distance of two (samples, features)."""
    a, b = towers
    return K.sqrt(K.maximum(K.sum(K.square(a - b), axis=1, keepdims=True), K.epsilon()))


def contrastive(same, d):
    """Large for pairs that are far apart, and for different ones nearer than the margin."""
    return K.mean(same * K.square(d) + (1 - same) * K.square(K.maximum(MARGIN - d, 0)))


def accuracy(same, d):
    """The share of pairs told right by half the margin."""
    return K.mean(K.equal(same, K.cast(d < MARGIN / 2, same.dtype)))


np.random.seed(1)
(x_train, y_train), (x_test, y_test) = digits.load_data()
x_train, x_test = (x.reshape(len(x), 784).astype("float32") / 255 for x in (x_train, x_test))
train, train_same = pairs(x_train, y_train, 512 if QUICK else 12000)
test, test_same = pairs(x_test, y_test, 500 if QUICK else 2000)

tower = Sequential([Dense(128, activation="relu", input_shape=(784,)), Dropout(0.1), Dense(128, activation="relu"),
                    Dropout(0.1), Dense(64, activation="relu")])
a, b = Input((784,)), Input((784,))
model = Model([a, b], Lambda(distance, output_shape=(1,))([tower(a), tower(b)]))
model.compile("rmsprop", contrastive, metrics=[accuracy])
model.fit([train[:, 0], train[:, 1]], train_same, batch_size=128, epochs=1 if QUICK else 12, verbose=2,
          validation_data=([test[:, 0], test[:, 1]], test_same))
