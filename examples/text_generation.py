"""Text, character by character: an LSTM learns to go on with what it read.

The text is Python's own reference manual, which comes with Python (`pydoc_data.topics`).  After half a minute it
writes something with words and brackets in the right places; more epochs make it better.
"""
import sys

import numpy as np
from pydoc_data.topics import topics

from graphk.callbacks import LambdaCallback
from graphk.layers import LSTM, Dense
from graphk.models import Sequential
from graphk.optimizers import RMSprop

QUICK = "--quick" in sys.argv
LENGTH, STEP = 30, 3

np.random.seed(1)
text = " ".join("\n".join(topics[name] for name in sorted(topics)).lower().split())
text = "".join(c for c in text if c.isascii())[:4_000 if QUICK else 60_000]
chars = sorted(set(text))
number = {c: i for i, c in enumerate(chars)}
codes = np.array([number[c] for c in text])
starts = np.arange(0, len(codes) - LENGTH, STEP)
x = np.eye(len(chars), dtype=bool)[codes[starts[:, None] + np.arange(LENGTH)]]
y = np.eye(len(chars), dtype=bool)[codes[starts + LENGTH]]
print(f"{len(text)} characters, {len(chars)} different ones, {len(x)} samples")

model = Sequential([LSTM(96, input_shape=(LENGTH, len(chars))), Dense(len(chars), activation="softmax")])
model.compile(RMSprop(lr=0.01), "categorical_crossentropy")


def drawn(p, temperature):
    """The number of a character: the lower the temperature, the more likely one of high probability."""
    logits = np.log(p.astype("float64") + 1e-12) / temperature
    p = np.exp(logits - logits.max())
    return np.random.choice(len(p), p=p / p.sum())


def write(epoch, logs):
    """Print a sample."""
    window = list(codes[1000:1000 + LENGTH])
    print("".join(chars[i] for i in window), end="")
    for _ in range(20 if QUICK else 200):
        window.append(drawn(model.predict_on_batch(np.eye(len(chars))[window[-LENGTH:]][None])[0], 0.5))
        print(chars[window[-1]], end="")
    print()


model.fit(x, y, batch_size=128, epochs=1 if QUICK else 4, verbose=2, callbacks=[LambdaCallback(on_epoch_end=write)])
