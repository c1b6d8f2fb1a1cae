"""`preprocessing.text` and `preprocessing.sequence` beside what tf_keras answered, and what it does not have."""
import json
from pathlib import Path

import numpy as np
import pytest

from graphk.preprocessing import sequence, text

from tests.preprocessing.text_and_sequence import DATA, TEXTS, answers

RECORDED = json.loads((Path(__file__).parent / "text_and_sequence.json").read_text())


@pytest.fixture(scope="module")
def ours():
    return answers(sequence, text)


@pytest.mark.parametrize("i", range(len(RECORDED)))
def test_answers_are_those_of_tf_keras(ours, i):
    assert len(ours) == len(RECORDED) and ours[i] == RECORDED[i]


def test_json_round_trips():
    t = text.Tokenizer(num_words=5, oov_token="?")
    t.fit_on_texts(TEXTS)
    again = text.tokenizer_from_json(t.to_json())
    assert again.get_config() == t.get_config() and again.texts_to_sequences(TEXTS) == t.texts_to_sequences(TEXTS)
    made = sequence.TimeseriesGenerator(DATA, DATA, 3, start_index=2, batch_size=4)
    same = sequence.timeseries_generator_from_json(made.to_json())
    assert len(same) == len(made) and all(np.array_equal(a, b) for a, b in zip(made[1], same[1]))
    with pytest.raises(TypeError, match="Data not JSON Serializable"):
        sequence.TimeseriesGenerator([object()] * 9, DATA[:9], 2).to_json()


def test_what_tf_keras_has_no_more():
    assert sequence._remove_long_seq(3, [[1], [1, 2, 3], [2, 3]], [7, 8, 9]) == ([[1], [2, 3]], [7, 9])
    assert sequence.pad_sequences([[1, 2]], maxlen=0).shape == (1, 0)
    with pytest.warns(UserWarning, match="renamed `num_words`"):
        assert text.Tokenizer(nb_words=7).num_words == 7
    assert text.one_hot("a b a", 10)[0] == text.one_hot("a", 10)[0]
    t = text.Tokenizer()
    t.fit_on_sequences([[1, 2], [2, 3, 3]])
    assert (dict(t.index_docs), t.document_count) == ({1: 1, 2: 2, 3: 1}, 2)
