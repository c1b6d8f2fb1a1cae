"""An LSTM that remembers from batch to batch: it counts steps since an event it saw long ago.

Every sequence is cut into pieces of ten steps.  The answer, whether the last signal was high or low, may lie several
pieces back: a stateless LSTM forgets at each cut, a stateful one carries its states on until `reset_states`.
"""
import sys

import numpy as np

from graphk.layers import LSTM, Dense, TimeDistributed
from graphk.models import Sequential

QUICK = "--quick" in sys.argv
SEQUENCES, PIECES, LENGTH = 32, 6, 10

random = np.random.RandomState(1)
np.random.seed(1)


def sequences(count):
    """Rare signals +1 and -1, and, for each step, whether the latest was +1: (count, steps, 1) both."""
    steps = PIECES * LENGTH
    signal = random.choice([-1., 0., 1.], (count, steps, 1), p=[.02, .96, .02])
    signal[:, 0] = random.choice([-1., 1.], (count, 1))
    latest = np.zeros_like(signal)
    for t in range(steps):
        latest[:, t] = np.where(signal[:, t] != 0, signal[:, t], latest[:, t - 1])
    return signal, (latest > 0).astype("float32")


def accuracy(stateful, rounds):
    """Train for `rounds` of fresh sequences; the share of steps answered right in new ones."""
    model = Sequential([
        LSTM(16, return_sequences=True, stateful=stateful, batch_input_shape=(SEQUENCES, LENGTH, 1)),
        TimeDistributed(Dense(1, activation="sigmoid")),
    ])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    right = []
    for i in range(rounds):
        x, y = sequences(SEQUENCES)
        model.reset_states()
        for p in range(PIECES):
            piece = slice(p * LENGTH, (p + 1) * LENGTH)
            step = model.train_on_batch if i < rounds - 5 else model.test_on_batch
            result = step(x[:, piece], y[:, piece])
            if i >= rounds - 5 and p > 0:
                right.append(result[1])
    return np.mean(right)


ROUNDS = 8 if QUICK else 300
for stateful in (False, True):
    name = "stateful" if stateful else "stateless"
    print(f"{name}: {accuracy(stateful, ROUNDS):.1%} of the steps after the first cut")
