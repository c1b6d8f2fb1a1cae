"""The wrappers for scikit-learn: alone, and in its pipelines and searches."""
import numpy as np
import pytest

from graphk.layers import Activation, Dense
from graphk.models import Sequential
from graphk.utils.test_utils import get_test_data
from graphk.wrappers.scikit_learn import BaseWrapper, KerasClassifier, KerasRegressor

np.random.seed(7)
(X, Y), (X_TEST, Y_TEST) = get_test_data(60, 20, input_shape=(5,), classification=True, num_classes=2)


def classifier(hidden=8, loss="categorical_crossentropy", outputs=2, metrics=("accuracy",), lr=.1):
    from graphk.optimizers import SGD
    model = Sequential([Dense(hidden, input_shape=(5,), activation="relu"), Dense(outputs),
                        Activation("softmax" if outputs > 1 else "sigmoid")])
    model.compile(SGD(lr), loss, metrics=list(metrics))
    return model


def regressor(hidden=4):
    model = Sequential([Dense(hidden, input_shape=(5,)), Dense(1)])
    model.compile("sgd", "mean_squared_error", metrics=["mse"])
    return model


class Callable:
    def __call__(self, hidden):
        return classifier(hidden)


class Inherited(KerasClassifier):
    def __call__(self, hidden):
        return classifier(hidden)


@pytest.mark.parametrize("make", [
    lambda: KerasClassifier(classifier, hidden=5, batch_size=20, epochs=2, verbose=0),
    lambda: KerasClassifier(Callable(), hidden=5, batch_size=20, epochs=2, verbose=0),
    lambda: KerasClassifier(Callable().__call__, hidden=5, epochs=2, verbose=0),
    lambda: Inherited(build_fn=None, hidden=5, epochs=2, verbose=0),
    lambda: KerasClassifier(classifier, loss="binary_crossentropy", outputs=1, epochs=2, verbose=0),
    lambda: KerasClassifier(classifier, loss="sparse_categorical_crossentropy", nb_epoch=2, verbose=0),
])
@pytest.mark.filterwarnings("ignore:The `nb_epoch` argument")
def test_classifiers(make):
    clf = make()
    history = clf.fit(X, Y, sample_weight=np.ones(len(Y)))
    assert len(history.epoch) == 2
    found = clf.predict(X_TEST, batch_size=5).ravel()
    assert found.shape == (20,) and set(found) <= set(Y)
    p = clf.predict_proba(X_TEST)
    assert p.shape == (20, 2)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    score = clf.score(X_TEST, Y_TEST, batch_size=5)
    assert score == pytest.approx(np.mean(found == Y_TEST))


def test_labels_of_any_kind():
    names = np.array(["no", "yes"])[Y]
    clf = KerasClassifier(classifier, epochs=8, verbose=0)
    clf.fit(X, names)
    assert clf.classes_.tolist() == ["no", "yes"] and set(clf.predict(X_TEST)) <= {"no", "yes"}
    assert clf.score(X, names) == pytest.approx(np.mean(clf.predict(X) == names))
    rows = np.eye(2)[Y]
    assert KerasClassifier(classifier, epochs=1, verbose=0).fit(X, rows).epoch == [0]
    with pytest.raises(ValueError, match="Invalid shape for y"):
        clf.fit(X, np.zeros((60, 2, 2)))


def test_regressors():
    reg = KerasRegressor(regressor, hidden=3, batch_size=20, epochs=1, verbose=0)
    reg.fit(X, Y)
    assert reg.predict(X_TEST).shape == (20,)
    assert reg.score(X_TEST, Y_TEST) == pytest.approx(-np.mean((reg.predict(X_TEST) - Y_TEST) ** 2), rel=1e-4)


def test_parameters():
    clf = KerasClassifier(classifier, hidden=5, epochs=1, verbose=0)
    assert clf.get_params() == {"build_fn": classifier, "hidden": 5, "epochs": 1, "verbose": 0}
    assert clf.set_params(hidden=6) is clf and clf.get_params()["hidden"] == 6
    assert clf.filter_sk_params(Sequential.fit, {"epochs": 9}) == {"epochs": 9, "verbose": 0}
    for wrong in (lambda: KerasClassifier(classifier, hiden=5), lambda: clf.set_params(hiden=3)):
        with pytest.raises(ValueError, match="hiden is not a legal parameter"):
            wrong()
    with pytest.raises(AttributeError, match="call fit"):
        clf.predict(X)
    clf = KerasClassifier(classifier, metrics=(), verbose=0)
    clf.fit(X, Y)
    with pytest.raises(ValueError, match="not configured to compute accuracy"):
        clf.score(X, Y)
    assert BaseWrapper(classifier).get_params() == {"build_fn": classifier}


def test_in_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    clf = KerasClassifier(classifier, epochs=2, verbose=0, class_weight={0: 1., 1: 2.})
    reg = KerasRegressor(regressor, epochs=1, verbose=0)
    assert is_classifier(clf) and is_regressor(reg) and clone(clf).get_params()["epochs"] == 2
    search = GridSearchCV(clf, {"hidden": [3, 6], "epochs": [1, 2]}, cv=2)
    search.fit(X, Y)
    assert set(search.best_params_) == {"hidden", "epochs"} and search.predict(X_TEST).shape == (20,)
    pipe = make_pipeline(StandardScaler(), clf)
    pipe.fit(X, Y)
    assert pipe.predict(X_TEST).shape == (20,) and 0 <= pipe.score(X_TEST, Y_TEST) <= 1
    assert cross_val_score(reg, X, Y.astype("float32"), cv=3).shape == (3,)
    assert cross_val_score(clf, X, Y, cv=3, scoring="neg_log_loss").shape == (3,)
