"""Losses and metrics as objects, which Keras 2.3 brought: expected numbers are tf_keras's, for these data."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk import losses, metrics
from graphk.models import Model

RNG = np.random.RandomState(0)
P = RNG.rand(24, 4).astype("float32")
P /= P.sum(1, keepdims=True)
Y = np.eye(4)[RNG.randint(0, 4, 24)].astype("float32")
B, Q = (RNG.rand(24, 1) > .5).astype("float32"), RNG.rand(24, 1).astype("float32")
W = RNG.rand(24).astype("float32")
SPARSE = Y.argmax(1).astype("float32")[:, None]


def value(x):
    return float(K.eval(x))


LOSSES = {
    "MeanSquaredError": ({}, Y, P, 0.2288, 2.4704),
    "MeanAbsoluteError": ({}, Y, P, 0.3962, 4.4623),
    "MeanAbsolutePercentageError": ({}, Y + 1, P, 77.5945, 896.2679),
    "MeanSquaredLogarithmicError": ({}, Y, P, 0.1160, 1.2531),
    "CategoricalHinge": ({}, Y, P, 1.2060, 13.1731),
    "LogCosh": ({}, Y, P, 0.1056, 1.1433),
    "Poisson": ({}, Y, P, 0.7194, 8.1944),
    "KLDivergence": ({}, Y, P, 1.8775, 21.2597),
    "CosineSimilarity": ({}, Y, P, -0.3726, -4.7946),
    "Huber": ({"delta": .4}, Y, P * 3, 0.2077, 2.2852),
    "CategoricalCrossentropy": ({"label_smoothing": .2, "from_logits": True}, Y, P, 1.4305, 16.2799),
    "SparseCategoricalCrossentropy": ({"from_logits": True}, SPARSE, P, 1.4390, 16.3372),
    "BinaryCrossentropy": ({"label_smoothing": .1}, B, Q, 0.8710, 9.2932),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    arguments, targets, outputs, mean, total = LOSSES[name]
    cls = getattr(losses, name)
    assert value(cls(**arguments)(targets, outputs)) == pytest.approx(mean, abs=2e-4)
    assert value(cls(reduction="sum", **arguments)(targets, outputs, sample_weight=W)) == pytest.approx(total, abs=2e-3)
    assert K.int_shape(cls(reduction=losses.Reduction.NONE)(targets, outputs)) == (24,)
    made = losses.deserialize(losses.serialize(cls(**arguments)))
    assert type(made) is cls and made.get_config() == cls(**arguments).get_config()


SPARSE_LOSS = "sparse_categorical_crossentropy"
METRICS = {
    "AUC()": (B, Q, "mse", 0.5296, 0.5799),
    "AUC(curve='PR')": (B, Q, "mse", 0.7273, 0.7386),
    "AUC(5, summation_method='minoring')": (B, Q, "mse", 0.3926, 0.4966),
    "AUC(curve='PR', summation_method='majoring')": (B, Q, "mse", 0.7371, 0.7538),
    "AUC(thresholds=[.2, .7])": (B, Q, "mse", 0.5333, 0.6293),
    "Precision()": (B, Q, "mse", 0.6000, 0.6286),
    "Recall()": (B, Q, "mse", 0.6000, 0.5581),
    "TruePositives()": (B, Q, "mse", 9.0000, 3.7986),
    "FalsePositives(.3)": (B, Q, "mse", 7.0000, 3.1109),
    "TrueNegatives()": (B, Q, "mse", 3.0000, 2.4674),
    "FalseNegatives()": (B, Q, "mse", 6.0000, 3.0074),
    "SpecificityAtSensitivity(.5)": (B, Q, "mse", 0.4444, 0.6101),
    "BinaryAccuracy(threshold=.3)": (B, Q, "mse", 0.5417, 0.5441),
    "BinaryCrossentropy(from_logits=True)": (B, Q, "mse", 0.6677, 0.6662),
    "Precision(top_k=2)": (Y, P, "mse", 0.2500, 0.2924),
    "Recall(class_id=1, thresholds=.3)": (Y, P, "mse", 0.3333, 0.5002),
    "Precision(top_k=2, class_id=2)": (Y, P, "mse", 0.2857, 0.5771),
    "MeanSquaredError()": (Y, P, "mse", 0.2288, 0.2145),
    "RootMeanSquaredError()": (Y, P, "mse", 0.4783, 0.4631),
    "CategoricalAccuracy()": (Y, P, "mse", 0.1667, 0.2224),
    "TopKCategoricalAccuracy(2)": (Y, P, "mse", 0.5000, 0.5847),
    "CosineSimilarity()": (Y, P, "mse", 0.3726, 0.4163),
    "LogCoshError()": (Y, P, "mse", 0.1056, 0.0993),
    "CategoricalCrossentropy(label_smoothing=.1)": (Y, P, "mse", 1.8522, 1.8219),
    "MeanRelativeError([1., 2., 3., 4.])": (Y, P, "mse", 0.2187, 0.2029),
    "SparseCategoricalAccuracy()": (SPARSE, P, SPARSE_LOSS, 0.1667, 0.2224),
    "SparseTopKCategoricalAccuracy(k=2)": (SPARSE, P, SPARSE_LOSS, 0.5000, 0.5847),
    "SparseCategoricalCrossentropy()": (SPARSE, P, SPARSE_LOSS, 1.8775, 1.8458),
}


def model_of(outputs):
    x = L.Input(outputs.shape[1:])
    return Model(x, L.Activation("linear")(x))


@pytest.mark.parametrize("case", METRICS)
def test_metrics(case):
    targets, outputs, loss, plain, weighted = METRICS[case]
    m = model_of(outputs)
    metric = eval(case, vars(metrics))
    m.compile("sgd", loss, metrics=[metric])
    for _ in range(2):                                    # the second begins again
        assert m.evaluate(outputs, targets, batch_size=7, verbose=0)[1] == pytest.approx(plain, abs=2e-4)
    m.compile("sgd", loss, weighted_metrics=[eval(case, vars(metrics))])
    got = m.evaluate(outputs, targets, batch_size=7, verbose=0, sample_weight=W)[1]
    assert got == pytest.approx(weighted, abs=2e-4)
    made = type(metric).from_config(metric.get_config())
    assert made.get_config() == metric.get_config()


def test_a_model_trains_on_losses_that_are_objects():
    x = L.Input((3,))
    m = Model(x, L.Dense(2, activation="softmax", name="d")(x))
    data, classes = RNG.rand(8, 3), RNG.randint(0, 2, 8)
    first = m.get_weights()
    for loss, y in ((losses.SparseCategoricalCrossentropy(), classes), ("sparse_categorical_crossentropy", classes)):
        m.set_weights(first)
        m.compile("sgd", loss, metrics=["accuracy"])
        history = m.fit(data, y, verbose=0, epochs=2, batch_size=8, shuffle=False).history
        if not isinstance(loss, str):
            want = history
    assert history == want
    m.compile("sgd", losses.MeanSquaredError(reduction="sum"))
    total = m.evaluate(data, np.eye(2)[classes], batch_size=8, verbose=0)
    m.compile("sgd", losses.MeanSquaredError())
    assert total == pytest.approx(8 * m.evaluate(data, np.eye(2)[classes], batch_size=8, verbose=0), rel=1e-5)


def test_mean_iou():
    m = metrics.MeanIoU(num_classes=2)
    assert value(m([0., 0., 1., 1.], [0., 1., 0., 1.])) == pytest.approx(1 / 3)
    assert value(metrics.MeanIoU(2)([0., 0., 1., 1.], [0., 1., 0., 1.], sample_weight=[.3, .3, .3, .1])) == \
        pytest.approx((.3 / (.6 + .6 - .3) + .1 / (.4 + .4 - .1)) / 2, abs=1e-4)


def test_a_metric_of_ones_own():
    class Largest(metrics.Metric):
        def __init__(self, name="largest", **kwargs):
            super().__init__(name=name, **kwargs)
            self.best = self.add_weight(name="best", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            return K.update(self.best, K.maximum(self.best, K.max(y_pred)))

        def result(self):
            return self.best * 1.
    m = model_of(Q)
    m.compile("sgd", "mse", metrics=[Largest()])
    got = m.evaluate(Q[::-1], B, batch_size=5, verbose=0)[1]
    assert m.metrics_names == ["loss", "largest"] and got == Q.max()
    assert value(metrics.Mean()([1., 3., 5., 7.], sample_weight=[1., 1., 0., 0.])) == 2.
    assert value(metrics.Sum()([1., 3.])) == 4.


def test_an_object_given_for_several_outputs_counts_for_each():
    def trained(given):
        x = L.Input((2,))
        m = Model(x, [L.Dense(1, name=n, kernel_initializer=n, use_bias=False)(x) for n in ("ones", "zeros")])
        m.compile("sgd", "mse", metrics=given)
        return m.evaluate(np.ones((6, 2)), [np.arange(6.)] * 2, batch_size=2, verbose=0)[3:]
    one = metrics.MeanSquaredError()
    want = trained({n: [metrics.MeanSquaredError()] for n in ("ones", "zeros")})
    assert trained([one]) == want and want[0] != want[1]
    class Needs(metrics.MeanSquaredError):
        def __init__(self, scale, **kwargs):
            super().__init__(**kwargs)
    with pytest.raises(ValueError, match="mean_squared_error` keeps state, so each output needs one of its own"):
        trained([Needs(2.)])


def test_metrics_that_layers_and_models_add():
    class Told(L.Layer):
        def call(self, x):
            self.add_metric(K.sum(x, axis=-1), name="width")
            return x
    x = L.Input((3,))
    inner = Model(x, Told()(x))
    y = L.Dense(2)(inner(x))
    m = Model(x, y)
    m.add_metric(K.max(y), name="largest")
    m.compile("sgd", "mse", metrics=["mae"])
    data = RNG.rand(6, 3)
    got = dict(zip(m.metrics_names, m.evaluate(data, np.ones((6, 2)), batch_size=3, verbose=0)))
    assert list(got)[0] == "loss" and set(got) >= {"largest", "width"}
    assert got["width"] == pytest.approx(data.sum(-1).mean(), rel=1e-5)
    out = m.predict(data)
    assert got["largest"] == pytest.approx((out[:3].max() + out[3:].max()) / 2, rel=1e-5)
    with pytest.raises(TypeError, match="add_metric of the layer d takes a tensor; received 3"):
        L.Dense(2, name="d").add_metric(3)


@pytest.mark.parametrize("make,words", [
    (lambda: losses.MeanSquaredError(reduction="mean"), "`reduction` of a loss is one of 'none', 'sum'"),
    (lambda: losses.BinaryCrossentropy(logits=True), "BinaryCrossentropy: got an unexpected keyword argument 'logits'"),
    (lambda: metrics.AUC(curve="roc"), "`curve` is 'ROC' or 'PR'"),
    (lambda: metrics.AUC(num_thresholds=1), "`num_thresholds` must be an integer above 1; received 1"),
    (lambda: metrics.Precision(thresholds=2, name="p"), "Precision `p`: `thresholds` are numbers from 0 to 1; "
                                                        "received 2"),
    (lambda: metrics.SensitivityAtSpecificity(3), "`specificity` must be a number from 0 to 1; received 3")])
def test_mistakes(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


@pytest.mark.parametrize("make,words", [
    (lambda: losses.Loss()([1.], [1.]), "Loss must define call"),
    (lambda: metrics.Metric()([1.], [1.]), "Metric must define update_state")])
def test_what_a_subclass_must_define(make, words):
    with pytest.raises(NotImplementedError, match=words):
        make()


def test_losses_of_ones_own_reduce_with_what_keras_has_for_them():
    from graphk.utils import losses_utils

    class Mine(losses.Loss):
        def __init__(self):
            super().__init__(losses_utils.Reduction.SUM_OVER_BATCH_SIZE, "mine")

        def call(self, y_true, y_pred):
            return losses_utils.compute_weighted_loss(K.sum(K.abs(y_true - y_pred), -1), [1., 3.], self.reduction)

    assert K.eval(Mine()(np.zeros((2, 2)), np.ones((2, 2)))).item() == 4
    assert losses_utils.Reduction.all() == ("none", "sum", "sum_over_batch_size")
    assert K.eval(losses_utils.compute_weighted_loss(np.array([1., 2.]), reduction="none")).tolist() == [1, 2]
    with pytest.raises(ValueError, match="one of 'none', 'sum', .* received 'mean'"):
        losses_utils.Reduction.validate("mean")
