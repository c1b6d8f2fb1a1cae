"""What is asked of `preprocessing.text` and `preprocessing.sequence`, here and of tf_keras.

In: the two modules, of whichever package.  Out: all their answers, as JSON values.  What always holds: every question
is asked after the same seeding.  `python -m tests.preprocessing.text_and_sequence FILE` records tf_keras's answers.
"""
import json
import random
import sys

import numpy as np

SEQUENCES = [[1, 2, 3, 4], [5], [], [6, 7]]
DATA = np.arange(40).reshape(20, 2)
TEXTS = ["The cat sat on the mat.", "The dog -- sat; on THE log!", "Dogs and cats living together\tmass hysteria\n",
         "isn't it? über naïve"]
TOKENIZERS = [{}, {"num_words": 3}, {"num_words": 3, "oov_token": "OOV"}, {"oov_token": "OOV"}, {"lower": False},
              {"char_level": True, "num_words": 10}, {"split": "-"}, {"filters": ""}, {"filters": "", "split": "a"}]


def plain(x):
    if isinstance(x, np.ndarray):
        return [x.dtype.name, x.tolist()]
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return x.item() if isinstance(x, np.generic) else x


def windows(S, **kwargs):
    made = S.TimeseriesGenerator(DATA, DATA[:, 0], **{"length": 4, "batch_size": 5, **kwargs})
    return [len(made), *[list(made[i]) for i in range(len(made))]]


def tokens(T, settings):
    t = T.Tokenizer(**settings)
    t.fit_on_texts(TEXTS)
    t.fit_on_texts(["ab"] if t.char_level else [["A", "b", "the"]])
    numbers = t.texts_to_sequences([*TEXTS, "unknown the"])
    return [list(t.word_counts.items()), sorted(t.word_docs.items()), sorted(t.index_docs.items()), t.word_index,
            sorted(t.index_word.items()), numbers, t.sequences_to_texts([*numbers, [99, 1]]), t.document_count,
            *[t.texts_to_matrix([*TEXTS, ""], mode) for mode in ("binary", "count", "freq", "tfidf")]]


def questions(S, T):
    yield from ((lambda m=m, p=p, t=t: S.pad_sequences(SEQUENCES, m, "int32", p, t, 9))
                for p in ("pre", "post", "x") for t in ("pre", "post", "y") for m in (None, 2, 5))
    yield lambda: S.pad_sequences([[[1, 2], [3, 4]], [[5, 6]]], 3)
    yield lambda: S.pad_sequences([[[1, 2], [3, 4]], [[5, 6, 7]]], 3)
    yield lambda: S.pad_sequences(3)
    yield lambda: S.pad_sequences([1, 2])
    yield lambda: S.pad_sequences([["a", "b"], ["c"]], 3, value="p")
    yield lambda: S.pad_sequences([["a", "b"], ["c"]], 3, value="p", dtype=object)
    yield lambda: S.pad_sequences([["aa", "b"], ["c"]], 3, value="pad", dtype="U3")
    yield lambda: S.pad_sequences([[1.5, 2.5], [3]], dtype="float32", value=-1.)
    yield lambda: S.make_sampling_table(12)
    for kwargs in ({}, {"negative_samples": 0}, {"negative_samples": .5, "shuffle": False}, {"categorical": True},
                   {"window_size": 1, "seed": 5}, {"sampling_table": S.make_sampling_table(10, 1e-1)}):
        yield lambda k=kwargs: S.skipgrams([1, 2, 0, 3, 4, 5], 10, **k)
    for kwargs in ({}, {"sampling_rate": 2}, {"stride": 3}, {"start_index": 4, "end_index": 15}, {"shuffle": True},
                   {"reverse": True}, {"batch_size": 3}, {"length": 25}):
        yield lambda k=kwargs: windows(S, **k)
    yield lambda: S.TimeseriesGenerator(DATA, DATA[:5], 4)
    for settings in TOKENIZERS:
        yield lambda s=settings: tokens(T, s)
    yield lambda: T.Tokenizer().texts_to_matrix(["a"])
    for mode in ("tfidf", "no", "count"):
        yield lambda m=mode: T.Tokenizer(num_words=4).sequences_to_matrix([[1, 2, 3, 4, 1]], m)
    yield lambda: T.Tokenizer(foo=4)
    for text in TEXTS:
        for kwargs in ({}, {"lower": False, "split": "t"}, {"filters": "ae"}, {"split": "::"}):
            yield lambda x=text, k=kwargs: T.text_to_word_sequence(x, **k)
        yield lambda x=text: T.hashing_trick(x, 50, "md5")


def answers(S, T):
    out = []
    for question in questions(S, T):
        random.seed(3)
        np.random.seed(4)
        try:
            out.append(plain(question()))
        except (ValueError, TypeError) as e:
            out.append(type(e).__name__)
    return json.loads(json.dumps(out))


if __name__ == "__main__":
    from tf_keras.preprocessing import sequence, text
    with open(sys.argv[1], "w") as f:
        f.write("[" + ",\n".join(json.dumps(a, separators=(",", ":")) for a in answers(sequence, text)) + "]\n")
