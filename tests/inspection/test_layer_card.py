"""`graphk summary --layer`: one layer, its neighbours and its weights; models in a model by their own names."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import inspection
from graphk.layers import LSTM, Bidirectional, Concatenate, Dense, Input, Lambda, TimeDistributed
from graphk.models import Model, Sequential, load_model
from tests.inspection.shell import graphk


@pytest.fixture(scope="module")
def nested():
    """Two inputs, a model that is called on both, another one, and layers of the same name in all of them."""
    inner = Sequential([Dense(4, input_shape=(3,), name="twin"), Dense(2, name="deep")], name="inner")
    a, b = Input((3,), name="a"), Input((3,), name="b")
    other = Sequential([Dense(2, input_shape=(2,), name="deep")], name="other")
    both = Concatenate(name="both")([inner(a), other(inner(b))])
    return Model([a, b], Dense(1, name="twin")(both), name="outer")


def test_a_card_says_what_a_layer_is_made_with_and_between_what_it_stands(nested):
    card = inspection.layer(nested, "both")
    assert card.kind == "Concatenate" and card.config["axis"] == -1
    assert card.calls == (((("inner", "(None, 2)"), ("other", "(None, 2)")), "(None, 4)", ("twin",)),)
    called = inspection.layer(nested, "inner").calls
    assert [read for read, _, _ in called] == [(("a", "(None, 3)"),), (("b", "(None, 3)"),)]
    assert {readers for _, _, readers in called} == {("both",), ("other",)}


def test_a_layer_of_a_model_inside(nested):
    card = inspection.layer(nested, "inner/deep")
    assert card.inside == ("inner",) and card.config["units"] == 2
    assert [inspection.layer(nested, name).config["units"] for name in ("twin", "inner/twin")] == [1, 4]
    with pytest.raises(ValueError, match="2 layers are called 'deep'; expected one of inner/deep, other/deep"):
        inspection.layer(nested, "deep")
    with pytest.raises(ValueError, match="no layer 'bot'. Did you mean 'both'"):
        inspection.layer(nested, "bot")


def test_values_of_weights_as_numpy_has_them():
    model = Sequential([Dense(3, input_shape=(4,), name="d")])
    kernel = np.arange(-5, 7, dtype="float32").reshape(4, 3)
    model.set_weights([kernel, np.array([0, np.nan, 2], "float32")])
    model.layers[0].trainable = False
    of_kernel, of_bias = inspection.layer(model, "d").weights
    np.testing.assert_allclose(of_kernel.numbers, [-5, 6, kernel.mean(), kernel.std(), 1 / 12], rtol=1e-6)
    assert (of_bias.numbers[:2], of_bias.broken, of_bias.trainable) == ((0, 2), 1, False)
    assert "3 (1 not finite)" in str(inspection.layer(model, "d"))


def test_of_a_file_on_the_command_line(file):
    code, out, _ = graphk("summary", "--layer", "last", file)
    assert code == 0 and "from drop (None, 6)" in out and "to nothing" in out and "units = 3" in out
    with open(file + ".json", "w") as f:
        f.write(load_model(file).to_json())
    assert "note" not in graphk("summary", "--layer", "last", file)[2]
    assert "holds no weights; their values are first ones" in graphk("summary", "--layer", "last", file + ".json")[2]
    assert "note" not in graphk("summary", "--layer", "last", file + ".json", "--weights", file)[2]
    code, _, err = graphk("summary", "--layer", "lost", file)
    assert code == 2 and err.count("\n") == 1 and "Did you mean 'last'" in err


def test_why_and_kernel_know_a_model_in_the_model_by_its_name(nested):
    answer, = inspection.why(nested, "inner", "both", phase="predict")
    assert "inner" in str(answer)
    of_inner, of_deep = (set(inspection.kernel(nested, name, phase="predict")) for name in ("inner", "twin"))
    assert of_inner and of_inner != of_deep
    with pytest.raises(ValueError, match="no kernel 'iner'"):
        inspection.kernel(nested, "iner", phase="predict")


def test_what_is_around_a_node_stays_through_the_passes():
    wrapped = Sequential([Sequential([Lambda(lambda x: K.exp(K.softmax(x)), name="op", input_shape=(4,))], name="mid")],
                         name="top")
    assert list(inspection.kernel(wrapped, "mid", phase="predict")) == list(
        inspection.kernel(wrapped, "op", phase="predict"))


def test_what_a_wrapper_holds():
    inner = Sequential([Dense(3, input_shape=(4,), name="deep")], name="inner")
    model = Sequential([TimeDistributed(inner, input_shape=(6, 4), name="td"), Bidirectional(LSTM(3), name="bi")])
    assert inspection.layer(model, "deep").inside == ("td", "inner")
    assert inspection.layer(model, "deep").calls[0][0] == (("deep_input", "(None, 4)"),)
    both = [layer.name for layer in (model.layers[1].forward_layer, model.layers[1].backward_layer)]
    assert [inspection.layer(model, name).inside for name in both] == [("bi",)] * 2
    assert list(inspection.kernel(model, "inner", phase="predict")) == list(
        inspection.kernel(model, "deep", phase="predict"))
