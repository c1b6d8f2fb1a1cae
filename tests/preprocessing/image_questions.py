"""What is asked of `preprocessing.image`, here and of tf_keras.

In: the module and its backend, of whichever package, an empty folder, and a frame.  Out: all its answers by name, as
JSON values.  What always holds: every question is asked after the same seeding, in the layout that its name ends in.
`python -m tests.preprocessing.image_questions FILE` records tf_keras's answers.  Left out is what later Keras changed:
where the middle of a picture is, the direction of turns, and how far pictures without a 0 are stretched.
"""
import contextlib
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

X = np.random.RandomState(0).randint(1, 255, (5, 3, 2, 3)).astype("float32")
X[:, 0, 0, 0], X[:, 2, 1, 2] = 0, 255                          # so that stretching to 0 … 255 does nothing
Y, W = np.array([0, 1, 2, 0, 1]), np.array([0., 1., 2., 3., 4.])
STATISTICS = {"featurewise_center": True, "featurewise_std_normalization": True}
GENERATORS = [
    {}, {"rescale": 1 / 255.}, STATISTICS, {"samplewise_center": True, "samplewise_std_normalization": True},
    {"horizontal_flip": True, "vertical_flip": True}, {"channel_shift_range": 20.}, {"brightness_range": (.5, 1.5)},
    {"preprocessing_function": lambda x: x * 2 + 1, "rescale": .5}]
DRAWN = [
    {"rotation_range": 20}, {"width_shift_range": .2}, {"width_shift_range": 3}, {"width_shift_range": 2.},
    {"width_shift_range": [-2, 2]}, {"height_shift_range": (.1, .3)}, {"height_shift_range": [1, 2, 3]},
    {"shear_range": 10}, {"zoom_range": .2}, {"zoom_range": (.5, 1)}, {"zoom_range": (1, 1)},
    {"horizontal_flip": True, "vertical_flip": True, "rotation_range": 9, "zoom_range": .1, "brightness_range": [.1, 2],
     "channel_shift_range": 4, "shear_range": 3, "width_shift_range": .5, "height_shift_range": 2}]
FILES = ["a/0.png", "a/1.png", "b/in/0.png", "b/1.bmp", "b/none.png", "c/0.png", "a/note.txt"]
FRAME = {"filename": FILES, "class": list("xyzxyzx"), "two": list("xyxyxyx"), "number": [0, 1, 2, 3, 4, 5, 6],
         "weight": [0., .5, 1., 1.5, 2., 2.5, 3.], "several": [["x", "y"], ["x"], ["z"], ["y"], ["x"], ["z"], ["y"]]}
FROM_FRAMES = [
    {}, {"class_mode": "sparse", "shuffle": False}, {"class_mode": "binary", "y_col": "two"}, {"class_mode": "input"},
    {"class_mode": None}, {"class_mode": "raw", "y_col": "number"}, {"weight_col": "weight"}, {"y_col": "several"},
    {"class_mode": "multi_output", "y_col": ["number", "class"]}, {"classes": ["z", "x"]},
    {"y_col": "several", "classes": ["z", "x"]}, {"subset": "training"}, {"subset": "validation"},
    {"class_mode": "binary"}, {"class_mode": "binary", "classes": ["x"]}, {"x_col": "number"}, {"y_col": "number"},
    {"class_mode": "sparse", "y_col": "several"}, {"weight_col": "class"}]


def plain(x):
    """JSON values; whole numbers of an array by their kind only, since versions differ in their width."""
    if isinstance(x, np.ndarray):
        values = np.round(x.astype("float64"), 5).tolist() if x.dtype.kind in "iuf" else x.tolist()
        return [list(x.shape), x.dtype.name if x.dtype.kind == "f" else "", values]
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return plain(x.item()) if isinstance(x, np.generic) else x


def ask(question):
    """The answer or the error, the warnings, and what was printed."""
    np.random.seed(7)
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        try:
            answer = question()
        except (ValueError, TypeError) as e:
            return [type(e).__name__, str(e)]
    return [plain(answer), [str(w.message) for w in warned], printed.getvalue()]


def batches(it, n):
    """n batches; class numbers are Keras 2.2's ints, which later became floats."""
    sparse = getattr(it, "class_mode", "") == "sparse"
    return [(b[0], b[1].astype("int32")) if sparse else b for b in (next(it) for _ in range(n))]


def from_arrays(image, x, settings):
    generator = image.ImageDataGenerator(**settings)
    if settings is STATISTICS:
        generator.fit(x)
    weighted = generator.flow(x, Y, batch_size=3, sample_weight=W)
    by_number = [weighted[1], weighted[0]]
    weighted.on_epoch_end()
    return batches(generator.flow(x, Y, batch_size=2, seed=5), 3), by_number, weighted[1], generator.mean, generator.std


def from_directory(image, folder, settings):
    it = image.ImageDataGenerator(horizontal_flip=True, validation_split=.5).flow_from_directory(
        str(folder), target_size=(2, 3), batch_size=2, seed=3, **settings)
    return batches(it, 3), it.filenames, it.class_indices, it.classes, it.samples, len(it), it.image_shape


def from_frame(image, folder, frame, settings):
    it = image.ImageDataGenerator(rescale=.5, validation_split=.4).flow_from_dataframe(
        frame, str(folder), target_size=(2, 2), batch_size=3, **settings)
    return batches(it, 2), it.filenames, it.samples, len(it)


def saved(image, folder):
    """What `save_to_dir` leaves."""
    target = folder / "saved"
    target.mkdir()
    batches(image.ImageDataGenerator(vertical_flip=True).flow(
        X, batch_size=3, seed=2, save_to_dir=str(target), save_prefix="s"), 2)
    return [(p.name, image.img_to_array(image.load_img(str(p)))) for p in sorted(target.iterdir())]


def write_pictures(image, folder):
    random = np.random.RandomState(1)
    for i, name in enumerate(FILES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        x = random.randint(0, 256, (2 + i, 3, (1, 3, 4)[i % 3 if name.endswith("png") else 1]))
        if name.endswith(("png", "bmp")) and "none" not in name:
            image.save_img(str(path), x, "channels_last", scale=False)
    (folder / "a/note.txt").write_text("no picture")


def fitted(image, **settings):
    generator = image.ImageDataGenerator(**settings)
    generator.fit(X, augment=True, rounds=2, seed=4)
    return generator.mean, generator.std


def single_questions(image, folder):
    """Those that are asked in one layout."""
    yield from ((f"draw {i}", lambda s=s: [image.ImageDataGenerator(**s).get_random_transform((6, 5, 3), seed)
                                           for seed in (None, None, 3)]) for i, s in enumerate(DRAWN))
    for name in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"):
        yield name, lambda name=name: image.img_to_array(
            image.load_img(str(folder / "a/1.png"), target_size=(4, 2), interpolation=name))
    yield "gray", lambda: image.img_to_array(image.load_img(str(folder / "a/1.png"), grayscale=True))
    yield "channel shift", lambda: image.random_channel_shift(X[0], 30., 2)
    yield "brightness", lambda: image.random_brightness(X[0], (.3, 2))
    yield "no zoom", lambda: image.random_zoom(X[0], (1, 1))
    yield "augmented fit", lambda: fitted(image, **STATISTICS, horizontal_flip=True, channel_shift_range=9.)
    yield "several inputs", lambda: batches(image.ImageDataGenerator().flow([X, [Y, W]], Y, batch_size=3, seed=1), 2)
    yield "saved", lambda: saved(image, folder)
    yield "lengths", lambda: image.ImageDataGenerator().flow(X, Y[:3])
    yield "lengths of inputs", lambda: image.ImageDataGenerator().flow([X, W[:2]], Y)
    yield "beyond", lambda: image.ImageDataGenerator().flow(X, Y)[1]
    yield "channels", lambda: image.ImageDataGenerator().flow(X[..., :2]).n
    yield "unfit", lambda: image.ImageDataGenerator(featurewise_std_normalization=True).standardize(X.copy())
    yield "zoom", lambda: image.ImageDataGenerator(zoom_range=(1, 2, 3))


def answers(image, K, folder, frame):
    """Every question's answer, by name."""
    write_pictures(image, folder)
    found = {name: ask(question) for name, question in single_questions(image, folder)}
    found.update({f"frame {i}": ask(lambda s=s: from_frame(image, folder, frame, s))
                  for i, s in enumerate(FROM_FRAMES)})
    for data_format in ("channels_last", "channels_first"):
        K.set_image_data_format(data_format)
        x = X if data_format == "channels_last" else X.transpose(0, 3, 1, 2)
        found[f"image {data_format}"] = ask(lambda x=x: image.img_to_array(image.array_to_img(x[0])))
        found.update({f"flow {i} {data_format}": ask(lambda s=s, x=x: from_arrays(image, x, s))
                      for i, s in enumerate(GENERATORS)})
        for i, settings in enumerate([
                {}, {"class_mode": "binary", "classes": ["c", "a"]}, {"class_mode": "sparse"}, {"class_mode": "input"},
                {"class_mode": None}, {"color_mode": "grayscale", "subset": "training"},
                {"color_mode": "rgba", "subset": "validation", "interpolation": "bilinear"}]):
            found[f"folder {i} {data_format}"] = ask(lambda s=settings: from_directory(image, folder, s))
    K.set_image_data_format("channels_last")
    return found


if __name__ == "__main__":
    import pandas
    import tf_keras
    with tempfile.TemporaryDirectory() as name:
        recorded = answers(tf_keras.preprocessing.image, tf_keras.backend, Path(name), pandas.DataFrame(FRAME))
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in recorded.items())
    Path(sys.argv[1]).write_text("{" + lines + "}\n")
