"""Sequence to sequence: an encoder reads "12+345", a decoder writes "357".

Questions are read backwards, which brings the digits that matter together.  After twelve epochs about 95 % of new
sums are right to the last digit.
"""
import sys

import numpy as np

from graphk.layers import GRU, Dense, RepeatVector, TimeDistributed
from graphk.models import Sequential
from graphk.optimizers import Adam

QUICK = "--quick" in sys.argv
DIGITS, CHARS = 2, "0123456789+ "
LENGTH = 2 * DIGITS + 1


def encoded(texts, length):
    """Texts as (samples, length, characters), one 1 for each character."""
    return np.eye(len(CHARS), dtype="float32")[[[CHARS.index(c) for c in t.ljust(length)] for t in texts]]


def decoded(x):
    """The texts of the most probable characters."""
    return ["".join(CHARS[i] for i in row) for row in x.argmax(-1)]


np.random.seed(1)
pairs = np.array([(a, b) for a in range(10 ** DIGITS) for b in range(10 ** DIGITS)])
pairs = pairs[np.random.permutation(len(pairs))[:500 if QUICK else None]]
x = encoded([f"{a}+{b}".ljust(LENGTH)[::-1] for a, b in pairs], LENGTH)
y = encoded([str(a + b) for a, b in pairs], DIGITS + 1)
n = len(x) * 9 // 10

model = Sequential([
    GRU(96, input_shape=x.shape[1:]),
    RepeatVector(DIGITS + 1),
    GRU(96, return_sequences=True),
    TimeDistributed(Dense(len(CHARS), activation="softmax")),
])
model.compile(Adam(0.005), "categorical_crossentropy", metrics=["accuracy"])
for epoch in range(1 if QUICK else 12):
    history = model.fit(x[:n], y[:n], batch_size=64, epochs=epoch + 1, initial_epoch=epoch, verbose=0)
    answers = decoded(model.predict(x[n:], batch_size=256))
    right = np.mean([a.strip() == str(sum(p)) for a, p in zip(answers, pairs[n:])])
    print(f"epoch {epoch + 1}: loss {history.history['loss'][-1]:.3f}, {right:.1%} of new sums right")
for (a, b), answer in zip(pairs[n:n + 5], answers):
    print(f"{a}+{b} = {answer}", "" if int(answer.strip() or -1) == a + b else f"(no: {a + b})")
