"""Kind or unkind? An LSTM reads reviews, word by word.

The reviews are generated: a few hundred words, and negations that turn what follows.  Bags of words cannot tell
"not good, terrible" from "not terrible, good"; the LSTM learns to.
"""
import sys

import numpy as np

from graphk.layers import LSTM, Bidirectional, Dense, Embedding
from graphk.models import Sequential
from graphk.preprocessing.sequence import pad_sequences
from graphk.preprocessing.text import Tokenizer

QUICK = "--quick" in sys.argv
KIND, UNKIND = "good great moving funny superb".split(), "bad dull terrible boring awful".split()
THINGS = "film plot cast music ending script camera dialogue hero villain".split()


def review(random):
    """A text, and whether it is kind."""
    score, words = 0, []
    for _ in range(random.randint(2, 6)):
        kind, turned = random.rand() < .5, random.rand() < .4
        score += 1 if kind != turned else -1
        words += ["the", random.choice(THINGS), "was", *(["not"] if turned else []),
                  random.choice(KIND if kind else UNKIND)]
    return (" ".join(words), int(score > 0)) if score else review(random)


random = np.random.RandomState(1)
np.random.seed(1)
texts, labels = zip(*(review(random) for _ in range(400 if QUICK else 4000)))
labels = np.array(labels)
tokenizer = Tokenizer()
tokenizer.fit_on_texts(texts)
x = pad_sequences(tokenizer.texts_to_sequences(texts), maxlen=30)
n = len(x) * 4 // 5

model = Sequential([
    Embedding(len(tokenizer.word_index) + 1, 16, mask_zero=True, input_length=30),
    Bidirectional(LSTM(16, dropout=0.1)),
    Dense(1, activation="sigmoid"),
])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(x[:n], labels[:n], batch_size=32, epochs=1 if QUICK else 8, verbose=2, validation_data=(x[n:], labels[n:]))
for text in ("the plot was not dull the cast was great", "the film was not good the music was awful"):
    p = model.predict(pad_sequences(tokenizer.texts_to_sequences([text]), maxlen=30))[0, 0]
    print(f"{text!r}: kind with probability {p:.2f}")
