"""The configuration file and `GRAPHK_FLAGS`: where they are looked for, what wins, what is refused."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from graphk import backend as K
from graphk.frontend import config


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder for the file; the environment says nothing else."""
    monkeypatch.setenv("GRAPHK_HOME", str(tmp_path))
    monkeypatch.delenv("GRAPHK_FLAGS", raising=False)
    return tmp_path


def flags(monkeypatch, text):
    monkeypatch.setenv("GRAPHK_FLAGS", text)
    return config.load()


def test_a_missing_file_is_written_with_the_defaults_and_kept(home):
    assert config.load() == config.DEFAULTS
    file = home / "graphk.json"
    assert json.loads(file.read_text()) == config.DEFAULTS == {
        "floatx": "float32", "epsilon": 1e-7, "backend": "tensorflow", "image_data_format": "channels_last",
        "device": "auto", "keras_semantics": "2.2", "tf32": False, "nccl": True}
    assert [p.name for p in home.iterdir()] == ["graphk.json"]
    file.write_text('{"floatx": "float64"}')
    assert config.load() == {**config.DEFAULTS, "floatx": "float64"} and file.read_text() == '{"floatx": "float64"}'


def test_the_file_says_what_holds_and_flags_win(home, monkeypatch):
    (home / "graphk.json").write_text(json.dumps({
        "floatx": "float64", "epsilon": 1e-5, "backend": "tensorflow", "image_data_format": "channels_first",
        "keras_semantics": "2.3"}))
    assert config.load() == {"floatx": "float64", "epsilon": 1e-5, "backend": "tensorflow", "device": "auto",
                             "image_data_format": "channels_first", "keras_semantics": "2.3", "tf32": False,
                             "nccl": True}
    got = flags(monkeypatch, " device=cpu, floatX=float16,epsilon=1e-4 , keras_semantics=2.2,")
    assert (got["floatx"], got["epsilon"], got["keras_semantics"]) == ("float16", 1e-4, "2.2")
    assert got["image_data_format"] == "channels_first"
    assert flags(monkeypatch, "tf32=true")["tf32"] is True and flags(monkeypatch, "tf32=False")["tf32"] is False


def test_flags_are_not_written_to_the_file(home, monkeypatch):
    assert flags(monkeypatch, "floatX=float64")["floatx"] == "float64"
    assert json.loads((home / "graphk.json").read_text())["floatx"] == "float32"


@pytest.mark.parametrize("text,message", [
    ("floatY=float64", r"GRAPHK_FLAGS: unknown setting: 'floatY'. Did you mean 'floatx'\? Expected one of 'floatx', "),
    ("optimizer=fast_run", "unknown setting: 'optimizer'. .*Expected one of 'floatx', 'epsilon', 'backend'"),
    ("floatX=float23", r"unknown value of floatx: 'float23'. Did you mean 'float32'\? Expected one of 'float16', "),
    ("keras_semantics=1.2", "unknown value of keras_semantics: '1.2'.*one of '2.2', '2.3'"),
    ("tf32=1", "unknown value of tf32: '1'. Expected true or false."),
    ("epsilon=small", "unknown value of epsilon: 'small'. Expected a number"),
    ("epsilon=-1", "unknown value of epsilon: -1.0. Expected a number that is not negative"),
    ("floatX", "'floatX' has no value. Expected name=value"),
    ("backend=theano", "unknown value of backend: 'theano'. Expected one of 'tensorflow', 'graphk'"),
    ("device=tpu", "unknown value of device: 'tpu'. Expected 'auto', 'cpu', 'gpu', or the number of a GPU"),
    ("device=gpu:x", "unknown value of device: 'gpu:x'")])
def test_what_flags_refuse(home, monkeypatch, text, message):
    with pytest.raises(ValueError, match=message):
        flags(monkeypatch, text)


@pytest.mark.parametrize("text, name", [("cpu", "cpu"), ("gpu", "gpu:0"), ("GPU:1", "gpu:1"), ("cuda", "gpu:0"),
                                        ("cuda1", "gpu:1"), ("simulator", "simulator"), ("Auto", "auto")])
def test_devices_have_one_spelling(home, monkeypatch, text, name):
    assert flags(monkeypatch, "device=" + text)["device"] == name


@pytest.mark.parametrize("text,message", [
    ('{"floatx": "float64"', "configuration file .*graphk.json is not JSON: .*Repair .*graphk.json, or delete it"),
    ('["floatx"]', "graphk.json holds a list; expected an object such as {\"floatx\""),
    ('{"image_dim_ordering": "th"}', "graphk.json: unknown setting: 'image_dim_ordering'"),
    ('{"epsilon": true}', "graphk.json: unknown value of epsilon: True"),
    ('{"image_data_format": "first"}', "unknown value of image_data_format: 'first'")])
def test_what_the_file_may_not_say(home, text, message):
    (home / "graphk.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        config.load()
    assert (home / "graphk.json").read_text() == text


def test_where_the_file_is(tmp_path, monkeypatch):
    monkeypatch.delenv("GRAPHK_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config.path() == tmp_path / ".graphk" / "graphk.json"
    monkeypatch.setenv("HOME", str(tmp_path / "absent"))
    assert config.path() == Path(tempfile.gettempdir()) / ".graphk" / "graphk.json"
    monkeypatch.setenv("GRAPHK_HOME", "~/here")
    assert config.path() == tmp_path / "absent" / "here" / "graphk.json"


def test_a_file_that_cannot_be_written_is_not_needed(home, monkeypatch):
    monkeypatch.setenv("GRAPHK_HOME", str(home / "file" / "folder"))
    (home / "file").write_text("")
    assert config.load() == config.DEFAULTS and not config.path().exists()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(PermissionError()))
    monkeypatch.setenv("GRAPHK_HOME", str(home))
    assert config.load() == config.DEFAULTS and not config.path().exists()


def test_a_file_that_cannot_be_read_is_told_of(home, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.warns(UserWarning, match=r"graphk.json cannot be read \(Permission denied\), so the defaults hold"):
        assert config.load() == config.DEFAULTS


def test_a_program_starts_with_what_the_environment_says(tmp_path):
    code = "from graphk import backend as K; from graphk.frontend import config; " \
           "print(K.floatx(), K.variable(1.).dtype, K.epsilon(), K.backend(), config.keras_semantics())"
    env = {**os.environ, "GRAPHK_HOME": str(tmp_path / "new"), "GRAPHK_FLAGS":
           "floatX=float64,epsilon=0.001,backend=tensorflow,keras_semantics=2.3"}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert ran.stdout == "float64 float64 0.001 tensorflow 2.3\n", ran.stderr
    assert (tmp_path / "new" / "graphk.json").exists()
    ran = subprocess.run([sys.executable, "-c", code], env={**env, "GRAPHK_FLAGS": "colour=red"}, capture_output=True,
                         text=True)
    assert ran.returncode == 1 and "GRAPHK_FLAGS: unknown setting: 'colour'" in ran.stderr


def test_setters_hold_for_the_process():
    assert config.keras_semantics() == "2.2"
    config.put("keras_semantics", "2.3")
    assert config.keras_semantics() == config.get("keras_semantics") == "2.3"
    K.set_floatx("float64"), K.set_epsilon(1e-3), K.set_image_data_format("channels_first")
    assert (K.floatx(), K.epsilon(), K.image_data_format(), K.image_dim_ordering()) == \
        ("float64", 1e-3, "channels_first", "th")
    assert K.backend() == "tensorflow" and K.cast_to_floatx([1, 2]).dtype == "float64"
    K.set_image_dim_ordering("tf")
    assert K.normalize_data_format(None) == "channels_last" == K.normalize_data_format("Channels_Last")
    for bad in (lambda: K.set_floatx("int32"), lambda: K.set_image_data_format("tf"),
                lambda: K.set_image_dim_ordering("cl"), lambda: K.normalize_data_format("channels_middle"),
                lambda: K.set_epsilon("small"), lambda: config.put("flaotx", "float32")):
        with pytest.raises(ValueError):
            bad()
