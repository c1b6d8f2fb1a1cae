"""`preprocessing.image` beside what tf_keras answered; turns and shifts beside a plain definition; errors."""
import inspect
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphk import backend as K
from graphk.preprocessing import image

from tests.preprocessing.image_questions import FRAME, X, Y, answers

RECORDED = json.loads((Path(__file__).parent / "image_answers.json").read_text())
AXES = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return answers(image, K, tmp_path_factory.mktemp("pictures"), FRAME)


def same(a, b, off=0.):
    """Equal, floats nearly so (the order of a sum is the processor's), or `off` by no more."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= max(off, 2e-5 * max(1, abs(b)))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, off) for x, y in zip(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and same(list(a.values()), list(b.values()), off)
    return a == b


@pytest.mark.parametrize("name", RECORDED)
def test_answers_are_those_of_tf_keras(ours, name):
    assert set(ours) == set(RECORDED)
    off = 1. if name.startswith("folder") else 0.          # versions of Pillow round pixels differently
    assert same(ours[name], RECORDED[name], off), f"{ours[name]}\n  is not\n{RECORDED[name]}"


# ------------------------------------------------------------------ affine transforms
def looked_up(x, matrix):
    """Bilinear, the nearest value outside, pixel by pixel."""
    rows, cols = x.shape[:2]
    out = np.zeros_like(x)
    for i, j in itertools.product(range(rows), range(cols)):
        r, c = (matrix @ [i, j, 1])[:2]
        r, c = np.clip(r, 0, rows - 1), np.clip(c, 0, cols - 1)
        r0, c0 = min(int(r), max(rows - 2, 0)), min(int(c), max(cols - 2, 0))
        u, v = r - r0, c - c0
        out[i, j] = ((1 - u) * (1 - v) * x[r0, c0] + (1 - u) * v * x[r0, c0 + 1]
                     + u * (1 - v) * x[r0 + 1, c0] + u * v * x[r0 + 1, c0 + 1])
    return out


@pytest.mark.parametrize("told", [
    {"theta": 20.}, {"theta": -90.}, {"tx": 1.5}, {"ty": -2.}, {"shear": 15.}, {"zx": .5, "zy": 1.3},
    {"theta": 33., "tx": 1., "ty": -.7, "shear": 8., "zx": .9, "zy": 1.2}], ids=str)
def test_affine_transforms_look_up_every_pixel(told):
    x = np.random.RandomState(3).rand(7, 5, 3)
    p = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1, **told}
    t, s = np.deg2rad(p["theta"]), np.deg2rad(p["shear"])
    matrix = (np.array([[np.cos(t), -np.sin(t), p["tx"] * np.cos(t) - p["ty"] * np.sin(t)],
                        [np.sin(t), np.cos(t), p["tx"] * np.sin(t) + p["ty"] * np.cos(t)], [0, 0, 1]])
              @ [[p["zx"], -np.sin(s) * p["zy"], 0], [0, np.cos(s) * p["zy"], 0], [0, 0, 1]])
    want = looked_up(x, image.transform_matrix_offset_center(matrix, 7, 5))
    np.testing.assert_allclose(image.apply_affine_transform(x, **told), want, atol=1e-12)
    first = image.apply_affine_transform(x.transpose(2, 0, 1), row_axis=1, col_axis=2, channel_axis=0, **told)
    np.testing.assert_allclose(first.transpose(1, 2, 0), want, atol=1e-12)


def test_what_lies_outside():
    x = np.arange(1., 5.).reshape(4, 1, 1)
    for mode, want in {"nearest": [3, 4, 4, 4], "constant": [3, 4, 9, 9], "reflect": [3, 4, 4, 3]}.items():
        got = image.apply_affine_transform(x, tx=2, fill_mode=mode, cval=9.)
        assert got[:, 0, 0].tolist() == want
    assert image.apply_affine_transform(x, tx=.6, order=0)[:, 0, 0].tolist() == [2, 3, 4, 4]
    assert image.apply_affine_transform(x) is x


@pytest.mark.parametrize("change, told", [
    (lambda x: image.random_rotation(x, 20, **AXES), lambda d: {"theta": d(-20, 20)}),
    (lambda x: image.random_shift(x, .2, .4, **AXES), lambda d: {"tx": d(-.4, .4) * 4, "ty": d(-.2, .2) * 3}),
    (lambda x: image.random_shear(x, 9, **AXES), lambda d: {"shear": d(-9, 9)}),
    (lambda x: image.random_zoom(x, (.5, 2), **AXES), lambda d: {"zx": d(.5, 2), "zy": d(.5, 2)})])
def test_random_changes_draw_in_order(change, told):
    x = np.random.RandomState(3).rand(4, 3, 2)
    np.random.seed(1)
    got = change(x)
    np.random.seed(1)
    np.testing.assert_array_equal(got, image.apply_affine_transform(x, **told(np.random.uniform)))


def test_a_transform_does_all_in_order():
    x = X[0].copy()
    told = {"theta": 10, "channel_shift_intensity": 9., "flip_horizontal": True, "flip_vertical": True,
            "brightness": .5}
    for data_format, axes in (("channels_last", (0, 1, 2)), ("channels_first", (1, 2, 0))):
        given = x if data_format == "channels_last" else x.transpose(2, 0, 1)
        want = image.apply_affine_transform(given, 10, 0, 0, 0, 1, 1, *axes, fill_mode="reflect", order=0)
        want = image.flip_axis(image.flip_axis(image.apply_channel_shift(want, 9.), axes[1]), axes[0])
        K.set_image_data_format(data_format)
        want = image.apply_brightness_shift(want, .5)
        K.set_image_data_format("channels_last")                # the generator's own layout is what counts
        generator = image.ImageDataGenerator(data_format=data_format, fill_mode="reflect", interpolation_order=0)
        np.testing.assert_array_equal(generator.apply_transform(given, told), want)
    assert np.array_equal(x, X[0])


# ------------------------------------------------------------------ whitening, conversion
def test_whitening_makes_features_independent():
    x = np.random.RandomState(0).randn(300, 2, 2, 1) @ np.ones((1, 1))
    x[:, 1] += x[:, 0]
    with pytest.warns(UserWarning) as warned:
        generator = image.ImageDataGenerator(zca_whitening=True, featurewise_std_normalization=True, dtype="float64")
    assert [str(w.message).split("`")[3] for w in warned] == ["featurewise_center", "featurewise_std_normalization"]
    with pytest.warns(UserWarning, match="hasn't been fit"):
        generator.standardize(x.copy())
    generator.fit(x)
    white = generator.standardize(x.copy()).reshape(300, 4)
    np.testing.assert_allclose(white.T @ white / 300, np.eye(4), atol=1e-4)


def test_samplewise_deviation_needs_the_mean():
    with pytest.warns(UserWarning, match="`samplewise_std_normalization`, which overrides setting of `samplewise_cent"):
        assert image.ImageDataGenerator(samplewise_std_normalization=True).samplewise_center


def test_pictures_are_stretched_unless_told_not_to():
    x = np.array([[[10.], [30.]], [[-10.], [0.]]])
    assert np.asarray(image.array_to_img(x)).tolist() == [[127, 255], [0, 63]]
    assert np.asarray(image.array_to_img(abs(x), scale=False)).tolist() == [[10, 30], [10, 0]]
    assert np.asarray(image.array_to_img(np.zeros((1, 1, 3)))).tolist() == [[[0, 0, 0]]]
    assert np.asarray(image.array_to_img(x * 0 + 300, scale=False)).tolist() == [[300, 300], [300, 300]]
    assert image.img_to_array(x[..., 0], "channels_first", "uint8").shape == (1, 2, 2)
    assert image.img_to_array(x).dtype == "float32"
    K.set_floatx("float64")
    assert image.img_to_array(x).dtype == "float64"


def test_files_of_all_kinds(tmp_path):
    x = np.random.RandomState(0).randint(0, 256, (3, 2, 4)).astype("float32")
    with pytest.warns(UserWarning, match="does not support RGBA"):
        image.save_img(tmp_path / "rgba.jpg", x, file_format="jpg", quality=90)
    assert image.load_img(tmp_path / "rgba.jpg").size == (2, 3)
    image.save_img(tmp_path / "rgba.PNG", x, scale=False)
    read = image.load_img(str(tmp_path / "rgba.PNG"), color_mode="rgba")
    assert image.img_to_array(read).tolist() == x.tolist()
    deep = np.array([[0, 1000], [2000, 60000]], "int32")
    Image.fromarray(deep).convert("I;16").save(tmp_path / "deep.png")
    assert np.asarray(image.load_img(tmp_path / "deep.png", color_mode="grayscale")).tolist() == deep.tolist()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/my-picture.JPG").write_bytes((tmp_path / "rgba.jpg").read_bytes())
    found = sorted(Path(p).name for p in image.list_pictures(tmp_path))
    assert found == ["deep.png", "my-picture.JPG", "rgba.PNG", "rgba.jpg"]
    assert len(image.list_pictures(tmp_path, "jpg")) == len(image.list_pictures(tmp_path, ("jpg",))) == 2


# ------------------------------------------------------------------ errors and arguments
@pytest.mark.parametrize("question, error", [
    (lambda: image.array_to_img(X), r"rank 3 \(single image\). Got array with shape: \(5, 3, 2, 3\)"),
    (lambda: image.array_to_img(X[0, ..., :2]), "Unsupported channel number: 2. Expected 1"),
    (lambda: image.array_to_img(X[0], "last"), "Invalid data_format: last; expected 'channels_last'"),
    (lambda: image.img_to_array(X), r"Unsupported image shape: \(5, 3, 2, 3\)"),
    (lambda: image.load_img("no.png", color_mode="bgr"), 'must be "grayscale", "rgb", or "rgba". Received: \'bgr\''),
    (lambda: image.random_zoom(X[0], (1,)), "`zoom_range` should be a tuple or list of two floats. Received: \\(1,"),
    (lambda: image.random_brightness(X[0], (1,)), "`brightness_range` should be a tuple or list of two floats"),
    (lambda: image.ImageDataGenerator(brightness_range=2), "`brightness_range` should be .* Received: 2"),
    (lambda: image.ImageDataGenerator(validation_split=2), "strictly between 0 and 1. Received: 2"),
    (lambda: image.ImageDataGenerator(data_format="x"), "Invalid data_format: x"),
    (lambda: image.ImageDataGenerator().fit(X[0]), "should have rank 4. Got array with shape: "),
    (lambda: image.ImageDataGenerator().flow(X[0]), "should have rank 4. You passed an array with shape "),
    (lambda: image.ImageDataGenerator().flow(X, sample_weight=Y[:2]), "`sample_weight` should have the same length"),
    (lambda: image.ImageDataGenerator().flow(X, subset="test"), 'subset name: test; expected "training" or "valid'),
    (lambda: image.ImageDataGenerator().flow_from_directory(".", color_mode="x"), "Invalid color mode: x; expected"),
    (lambda: image.ImageDataGenerator().flow_from_directory(".", class_mode="x"), 'class_mode: x; .* "sparse", "inp'),
    (lambda: image.ImageDataGenerator().flow_from_directory(".", 5), r"should be \(rows, columns\). Received: 5"),
    (lambda: image.ImageDataGenerator().flow(list(X)), "is a list of 5; expected an array .* np.array\\(x\\)"),
    (lambda: image.ImageDataGenerator(preprocessing_function=lambda x: None).flow(X).next(), "returned None; expected"),
    (lambda: image.apply_affine_transform(X[0], 3, fill_mode="edge"), "fill_mode: 'edge'; expected .*constant, near"),
    (lambda: image.ImageDataGenerator().flow_from_dataframe({"filename": []}, class_mode="raw", classes=["a"]),
     "`classes` cannot be set if class_mode is 'raw'")])
def test_mistakes(question, error):
    with pytest.raises(ValueError, match=error):
        question()


def test_interpolations_are_known_by_name(tmp_path):
    image.save_img(tmp_path / "p.png", X[0])
    assert image.load_img(tmp_path / "p.png", target_size=(3, 2), interpolation="none").size == (2, 3)
    with pytest.raises(ValueError, match="method none specified. Supported methods are nearest, bilinear"):
        image.load_img(tmp_path / "p.png", target_size=(9, 2), interpolation="none")


def test_unknown_and_old_arguments_of_frames():
    generator = image.ImageDataGenerator()
    with pytest.warns(DeprecationWarning, match="sort is deprecated"):
        generator.flow_from_dataframe({"filename": []}, class_mode=None, sort=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        generator.flow_from_dataframe({"filename": []}, colour="rgb")
    for name in ("x_col", "y_col", "weight_col"):
        with pytest.raises(KeyError, match=f"{name}='v': the frame has no column 'v'; it has"):
            generator.flow_from_dataframe({"filename": [], "class": []}, **{name: "v"})
    with pytest.raises(TypeError, match="y_col must be a list. Received str: 'v'"):
        generator.flow_from_dataframe({"filename": []}, y_col="v", class_mode="multi_output")


@pytest.mark.parametrize("module, name, use", [
    ("PIL.Image", "load_img", lambda: image.load_img("x.png")),
    ("PIL.Image", "array_to_img", lambda: image.array_to_img(X[0])),
    ("PIL.ImageEnhance", "apply_brightness_shift", lambda: image.apply_brightness_shift(X[0], 2)),
    ("scipy.ndimage", "apply_affine_transform", lambda: image.apply_affine_transform(X[0], 2))])
def test_a_missing_package_is_named(monkeypatch, module, name, use):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"`{name}` requires (Pillow|SciPy).*pip install graphk\[images\]"):
        use()
    assert len(next(image.ImageDataGenerator(horizontal_flip=True).flow(X))) == 5


def test_signatures_are_keras_2_2():
    def names(f):
        return [p for p in inspect.signature(f).parameters if p not in ("self", "args", "kwargs")]

    assert names(image.ImageDataGenerator)[:6] == [
        "featurewise_center", "samplewise_center", "featurewise_std_normalization", "samplewise_std_normalization",
        "zca_whitening", "zca_epsilon"]
    assert names(image.ImageDataGenerator.flow_from_dataframe)[:8] == [
        "dataframe", "directory", "x_col", "y_col", "has_ext", "target_size", "color_mode", "classes"]
    assert names(image.load_img) == ["path", "grayscale", "color_mode", "target_size", "interpolation"]
    assert names(image.random_shift)[:8] == [
        "x", "wrg", "hrg", "row_axis", "col_axis", "channel_axis", "fill_mode", "cval"]
