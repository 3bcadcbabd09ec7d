"""Digits and MNIST."""

import gzip
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from icecore_sk.datasets import fetch_mnist, leave_digits_out, load_digit_images, mnist


def test_digit_images_are_scikit_learns_digits():
    bunch = load_digit_images()
    assert bunch.data.shape == (1797, 8, 8)
    assert bunch.data.dtype == np.uint8
    np.testing.assert_array_equal(np.rint(bunch.data / 255 * 16), load_digits().images)
    X, y = load_digit_images(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, load_digits().target)


@pytest.mark.parametrize("digits", [[2, 6], [1, 2, 6, 9], (7,), 3, np.array([0, 1])])
def test_leave_digits_out_loses_nothing(digits):
    X, y = load_digit_images(return_X_y=True)
    X_known, X_out, y_known, y_out = leave_digits_out(X, y, digits)
    assert set(y_out) == set(np.atleast_1d(digits))
    assert not set(y_known) & set(y_out)
    assert len(X_known) + len(X_out) == len(X)
    np.testing.assert_array_equal(X_known, X[~np.isin(y, digits)])
    np.testing.assert_array_equal(y_out, y[np.isin(y, digits)])


def test_leave_digits_out_of_tables_and_names():
    table = pd.DataFrame({"area": [1, 2, 3]}, index=["a", "b", "c"])
    known, out, y_known, y_out = leave_digits_out(table, ["dust", "ash", "dust"], ["ash"])
    assert known.index.tolist() == ["a", "c"]
    assert out.index.tolist() == ["b"]
    assert y_known.tolist() == ["dust", "dust"]
    assert y_out.tolist() == ["ash"]


def test_leave_digits_out_refuses_what_it_cannot_do():
    X, y = np.zeros((4, 8, 8)), [1, 2, 1, 2]
    with pytest.raises(ValueError, match=r"digits=\[2, 6\] holds \[6\], which y does not have"):
        leave_digits_out(X, y)
    with pytest.raises(ValueError, match="leave at least one in"):
        leave_digits_out(X, y, [1, 2])
    with pytest.raises(ValueError, match="inconsistent"):
        leave_digits_out(X, y[:3], [1])


def test_mnist_from_a_folder(shared_data, monkeypatch):
    X, y = fetch_mnist(data_home=shared_data, subset="test", return_X_y=True)
    assert X.shape == (10000, 28, 28)
    assert X.dtype == np.uint8
    assert np.bincount(y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    monkeypatch.setenv("ICECORE_DATA", str(shared_data))
    bunch = fetch_mnist(subset="all", download_if_missing=False)
    assert bunch.data.shape == (70000, 28, 28)
    np.testing.assert_array_equal(bunch.data[60000:], X)
    np.testing.assert_array_equal(bunch.target[60000:], y)


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Four tiny IDX files with their own checksums, in the mirrors' place."""
    import hashlib

    files = {}
    for (part, kind), (name, _, shape) in mnist.FILES.items():
        shape = (6, *shape[1:])
        values = np.random.RandomState(0).randint(0, 10, shape, dtype=np.uint8)
        content = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) + values.tobytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        files[part, kind] = (name, hashlib.md5(content, usedforsecurity=False).hexdigest(), shape)
    monkeypatch.setattr(mnist, "FILES", files)
    monkeypatch.delenv("ICECORE_DATA", raising=False)
    return tmp_path


def test_gzipped_or_not(small_mnist):
    X, y = fetch_mnist(data_home=small_mnist, return_X_y=True)
    assert X.shape == (6, 28, 28)
    assert y.dtype == np.int64
    path = small_mnist / "train-images-idx3-ubyte.gz"
    (small_mnist / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    np.testing.assert_array_equal(fetch_mnist(data_home=small_mnist).data, X)


@pytest.mark.parametrize("fault", ["flip", "truncate", "cut gzip", "longer", "header", "text"])
def test_a_corrupt_file_is_named_and_never_used(fault, small_mnist):
    path = small_mnist / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = None
    if fault == "flip":
        content[100] ^= 1
    elif fault == "truncate":
        del content[-1]
    elif fault == "longer":
        content += bytes(10**6)
    elif fault == "header":
        content[7] = 99
    elif fault == "cut gzip":
        packed = path.read_bytes()[:-20]
    else:
        packed = b"<html>404</html>"
    path.write_bytes(packed if packed is not None else gzip.compress(bytes(content)))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is corrupt: .*Delete it"):
        fetch_mnist(data_home=small_mnist)


def test_missing_files_without_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz is in none of"):
        fetch_mnist(data_home=tmp_path, download_if_missing=False)
    with pytest.raises(ValueError, match="subset='valid' must be"):
        fetch_mnist(subset="valid")


@pytest.fixture
def server(tmp_path):
    """A web server on this machine's loopback, for the folder `served`."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_download_goes_on_to_the_next_mirror_and_keeps_only_whole_files(
    small_mnist, server, tmp_path, monkeypatch
):
    from torchvision.datasets import MNIST

    folder, url = server
    for name in ("bad", "good"):
        (folder / name).mkdir()
    for path in small_mnist.glob("*.gz"):
        (folder / "bad" / path.name).write_bytes(path.read_bytes()[:50])
        path.rename(folder / "good" / path.name)
    mirrors = [f"{url}/{name}/" for name in ("nowhere", "bad", "good")]
    monkeypatch.setattr(MNIST, "mirrors", mirrors)
    home = tmp_path / "home"
    X = fetch_mnist(data_home=home, subset="all").data
    assert X.shape == (12, 28, 28)
    assert len([path for path in home.rglob("*") if path.is_file()]) == 4
    monkeypatch.setattr(MNIST, "mirrors", mirrors[:2])
    with pytest.raises(OSError, match=r"could not be fetched .*pass their folder as data_home"):
        fetch_mnist(data_home=tmp_path / "other")
    assert not list((tmp_path / "other").rglob("*.gz"))
