"""Arrays of other libraries: read where they are, on the host and on devices."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend import config
from graphk.models import Model, Sequential
from graphk.runtime.device import device as named
from graphk.runtime.exchange import DeviceArray, adopted

X = np.random.RandomState(0).rand(8, 3).astype("float32")
Y = np.random.RandomState(1).rand(8, 2).astype("float32")


class Theirs:
    """A tensor of another library in the host's memory; like torch's, it has a method `values` of another meaning."""

    def __init__(self, array, kind=1):
        self.array, self.kind, self.exported = array, kind, 0
        self.shape, self.ndim = array.shape, array.ndim

    def __dlpack__(self, **options):
        self.exported += 1
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.kind, 0

    def values(self):
        raise RuntimeError("values expected sparse tensor layout")

    def __len__(self):
        return len(self.array)


class OnGpu:
    """An array of another library in a GPU's memory."""

    def __init__(self, device, array, **more):
        self.address = device.allocate(array.nbytes)
        device.upload(self.address, array)
        self.__cuda_array_interface__ = {"version": 3, "shape": array.shape, "typestr": array.dtype.str,
                                         "data": (self.address, False), **more}


def model():
    return Sequential([L.Dense(4, activation="tanh", input_shape=(3,)), L.Dense(2)])


@pytest.fixture
def simulator():
    config.put("device", "simulator")
    yield named("simulator")
    config.put("device", "cpu")


def test_host_memory_is_not_copied():
    theirs = Theirs(X)
    mine = adopted(theirs)
    assert isinstance(mine, np.ndarray) and np.shares_memory(mine, X)
    assert adopted(X) is X and adopted([1.]) == [1.] and adopted(None) is None
    x = K.placeholder((None, 3))
    seen = []
    f = K.function([x], [x * 2.])
    run = f.executable(0)
    f._executables[0] = lambda arrays: seen.extend(arrays) or run(arrays)
    np.testing.assert_array_equal(f([theirs])[0], X * 2)
    assert np.shares_memory(seen[0], X)


def test_models_take_them_everywhere():
    m, twin = model(), model()
    twin.set_weights(m.get_weights())
    for one in (m, twin):
        one.compile("sgd", "mse")
    for a, b in (((Theirs(X), Theirs(Y)), (X, Y)), (({"dense_1_input": X}, Y), (X, Y))):
        a = (Theirs(X), Theirs(Y))
        assert m.train_on_batch(*a) == twin.train_on_batch(*b)
        assert m.fit(*a, batch_size=3, shuffle=False, verbose=0).history == twin.fit(
            *b, batch_size=3, shuffle=False, verbose=0).history
        assert m.evaluate(*a, verbose=0) == twin.evaluate(*b, verbose=0)
        np.testing.assert_array_equal(m.predict(a[0], batch_size=3), twin.predict(b[0], batch_size=3))
    np.testing.assert_array_equal(np.from_dlpack(m.predict(X)), m.predict(X))        # results go the same way


def test_what_cannot_be_read_is_named():
    class Refuses(Theirs):
        def __dlpack__(self, **options):
            raise BufferError("Can't export tensors that require gradient")
    with pytest.raises(TypeError, match=r"a Refuses of tests cannot be read \(Can't export tensors that require grad"):
        model().predict(Refuses(X))
    with pytest.raises(TypeError, match="on a device of DLPack's kind 8, neither the host nor"):
        model().predict(Theirs(X, kind=8))


@pytest.mark.peers
def test_jax_arrays():
    jax = pytest.importorskip("jax")
    m = model()
    np.testing.assert_array_equal(m.predict(jax.numpy.asarray(X)), m.predict(X))


def test_a_batch_in_the_devices_memory_does_not_travel(simulator):
    m, twin = model(), model()
    twin.set_weights(m.get_weights())
    for one in (m, twin):
        one.compile("sgd", "mse")
    x, y = OnGpu(simulator, X), OnGpu(simulator, Y)
    for _ in range(2):
        assert m.train_on_batch(x, y) == twin.train_on_batch(X, Y)
    before = simulator.uploads
    m.train_on_batch(x, y)
    alone = simulator.uploads - before
    before = simulator.uploads
    m.train_on_batch(X, Y)                                     # a recording of its own, for the same sizes
    assert (alone, simulator.uploads - before) == (1, 3)       # weights of rows; inputs and targets, too
    twin.set_weights(m.get_weights())
    np.testing.assert_array_equal(m.predict(x, batch_size=3), twin.predict(X, batch_size=3))
    assert m.test_on_batch(x, y) == twin.test_on_batch(X, Y)
    f = K.function(m.inputs, m.outputs)
    np.testing.assert_array_equal(f([x])[0], f([X])[0])


def test_arrays_on_the_wrong_side_are_refused(simulator):
    m = model()
    m.compile("sgd", "mse")
    x = OnGpu(simulator, X)
    with pytest.raises(TypeError, match="in the memory of another device than simulator"):
        m.predict(OnGpu(named("simulator:1"), X))
    with pytest.raises(TypeError, match=r"is an array float64\[8, 3\] on a GPU; expected f32\[n,3\] there"):
        m.predict(OnGpu(simulator, X.astype("float64")))
    with pytest.raises(TypeError, match="lies in a GPU's memory, and is wanted in the host's"):
        m.fit(x, Y, verbose=0)                                 # takes rows in any order
    ids = L.Input((2,))
    looked_up = Model(ids, L.Embedding(5, 2)(ids))
    with pytest.raises(TypeError, match="as they hold no row numbers of an embedding"):
        looked_up.predict(OnGpu(simulator, np.ones((2, 2), "float32")))
    with pytest.raises(TypeError, match="on a GPU, of shape .8, 3. and strides .4, 32., is not contiguous"):
        m.predict(OnGpu(simulator, X, strides=(4, 32)))
    config.put("device", "cpu")
    with pytest.raises(TypeError, match=r"The input `.*` of the function .* lies in a GPU's memory.*x\.cpu\(\)"):
        model().predict(x)


def test_rows_of_a_device_array():
    whole = DeviceArray(1000, (8, 3), np.dtype("float32"), None)
    part = whole[2:5]
    assert (part.address, part.shape, part.nbytes, len(part), part.ndim) == (1024, (3, 3), 36, 3, 2)
    assert whole[6:20].shape == (2, 3) and whole[5:5].shape == (0, 3)
    assert DeviceArray(0, (4,), np.dtype("int32"), None).column().shape == (4, 1)


def test_weights_of_samples_are_read_too():
    m, weights = model(), np.arange(8, dtype="float32")
    m.compile("sgd", "mse")
    assert m.test_on_batch(X, Y, sample_weight=Theirs(weights)) == m.test_on_batch(X, Y, sample_weight=weights)


def test_a_library_that_cannot_name_its_device():
    class Meta(Theirs):
        def __dlpack_device__(self):
            raise ValueError("Unknown device type meta")
    with pytest.raises(TypeError, match=r"a Meta of .* cannot be read \(Unknown device type meta\)"):
        adopted(Meta(X))
