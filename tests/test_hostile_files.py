"""Model files that are damaged or lie: one clear error, nothing executed, nothing large made."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
import skops.io
from conftest import make_network
from model_files import document_text, forge, seal, state_of
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from icecore_sk import VAE, MeanCorrection, OutlierScorer, files, load, save
from icecore_sk._base import BaseImageEstimator
from icecore_sk._files.container import BLANK, CHECKSUM

FORMAT = json.dumps([files.MAJOR, len(files.MIGRATIONS)])


@pytest.fixture
def mean_file(digits, tmp_path):
    return save(MeanCorrection().fit(digits[0]), tmp_path / "mean.safetensors")


@pytest.fixture(scope="module")
def vae_bytes(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    return save(make_network("VAE", max_epochs=1).fit(digits[0]), path).read_bytes()


@pytest.fixture
def vae_file(vae_bytes, tmp_path):
    path = tmp_path / "vae.safetensors"
    path.write_bytes(vae_bytes)
    return path


def refused(path, match):
    """Load a file that must be refused with its name and one reason."""
    with pytest.raises(ValueError, match=match) as caught:
        load(path)
    assert repr(str(path)) in str(caught.value)
    assert "Nothing of it was used" in str(caught.value)


# ---------------------------------------------------------------- damage


def test_every_single_flipped_bit_is_found(mean_file):
    whole = mean_file.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        mean_file.write_bytes(damaged)
        refused(mean_file, "cannot be loaded")


def test_flipped_bits_in_weights_are_found(vae_file, vae_bytes):
    for at in np.random.RandomState(0).randint(len(vae_bytes) // 2, len(vae_bytes), 20):
        damaged = bytearray(vae_bytes)
        damaged[at] ^= 1
        vae_file.write_bytes(damaged)
        refused(vae_file, "checksum is another")


def test_every_truncation_is_found(mean_file):
    whole = mean_file.read_bytes()
    for n in range(len(whole)):
        mean_file.write_bytes(whole[:n])
        refused(mean_file, "cut short|no file that icecore_sk.save wrote|checksum")
    mean_file.write_bytes(whole + b"\0")
    refused(mean_file, "checksum is another")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"\xff" * 100, b"PK\x03\x04" + b"\0" * 100, b"\x80\x04K\x01.", b"[" * 10**6],
)
def test_other_files_are_refused(content, mean_file):
    mean_file.write_bytes(content)
    refused(mean_file, "cut short|no file that icecore_sk.save wrote")


def test_safetensors_of_others_are_refused(mean_file):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, mean_file)
    refused(mean_file, "no file that icecore_sk.save wrote")


# ---------------------------------------------------------------- the header


def test_declared_sizes_beyond_the_file_take_no_memory(mean_file):
    header = b'{"a":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8000000000000]}}'
    for length in (len(header), 2**62, 99_999_999):
        mean_file.write_bytes(length.to_bytes(8, "little") + header)
        refused(mean_file, "cut short|no file that icecore_sk.save wrote")


def test_sealed_header_that_declares_more_than_there_is(vae_file, vae_bytes):
    """Also where the checksum is right."""
    length = int.from_bytes(vae_bytes[:8], "little")
    header = json.loads(vae_bytes[8 : 8 + length])
    entry = next(value for name, value in header.items() if name.endswith("head.weight"))
    entry["shape"] = [10**6, 10**6]
    header["__metadata__"][CHECKSUM] = BLANK
    text = json.dumps(header, separators=(",", ":")).encode()
    data = len(text).to_bytes(8, "little") + text + vae_bytes[8 + length :]
    vae_file.write_bytes(data.replace(BLANK.encode(), hashlib.sha256(data).hexdigest().encode(), 1))
    refused(vae_file, "(?i)safetensor")


def test_deep_nesting_is_refused(mean_file):
    seal(mean_file, "[" * 100_000 + "]" * 100_000)
    refused(mean_file, "RecursionError|recursion")
    text = document_text(save(MeanCorrection(), mean_file))
    seal(mean_file, text.replace("null", "[" * 900 + "]" * 900, 1), {})
    refused(mean_file, "RecursionError|image_shape")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"format"', '"format": [1, 0], "format"', "'format' twice"),
        ("null", "NaN", "NaN where a number is expected"),
        ("null", "Infinity", "Infinity where a number is expected"),
        ("null", "1e999", "image_shape"),
        (FORMAT, '"1.0"', "ValueError|no version"),
        (FORMAT, "[1, -1]", "no version"),
        (FORMAT, "[true, 0]", "no version"),
        ("null", '{"array": {"name": "x"}}', "KeyError: 'x'"),
        ("null", '{"same": 5}', "IndexError"),
        ("null", '{"pickle": "gASVAAA="}', "unknown kind 'pickle'"),
        ("null", '{"estimator": "os.system", "state": {"dict": []}}', "'os.system', which is no"),
        ("null", '{"function": "system"}', "KeyError: 'system'"),
    ],
)
def test_document_that_lies(old, new, match, mean_file):
    text = document_text(save(MeanCorrection(), mean_file))
    assert old in text
    seal(mean_file, text.replace(old, new, 1), {})
    refused(mean_file, match)


# ---------------------------------------------------------------- estimators


@pytest.mark.parametrize(
    "name",
    [
        "icecore_sk.load",
        "icecore_sk.Later",
        "sklearn.clone",
        "sklearn.utils._mocking.CheckingClassifier",
        "sklearn.pipeline.make_pipeline",
        "sklearn..Pipeline",
        "subprocess.Popen",
        "builtins.eval",
        ["sklearn.pipeline.Pipeline"],
        "x" * 10_000,
        None,
    ],
)
def test_classes_that_are_not_ours(name, mean_file):
    forge(mean_file, lambda document: document["model"].update(estimator=name))
    refused(mean_file, "which is no estimator of icecore_sk or of scikit-learn")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("image_shape", 7, "'image_shape' parameter of MeanCorrection"),
        ("mean_", {"float": "nan"}, "'mean_' that is no number"),
        ("mean_", "100", "'mean_' that is no number"),
        ("mean_", True, "'mean_' that is no number"),
        ("mean_", None, "'mean_' that is no number"),
        ("image_shape_", {"tuple": [1, 8, -8]}, "'image_shape_' that is no shape"),
        ("n_scalars_", -1, "'n_scalars_' that is no count"),
        ("shift", 1, "'shift', which is neither a parameter nor learned"),
        ("shift_", 1, "'shift_', which is neither a parameter nor learned"),
        ("transform", 1, "'transform' in place of a method"),
        ("__class__", 1, "attribute '__class__'"),
        ("a b", 1, "attribute 'a b'"),
    ],
)
def test_attributes_that_fit_never_leaves(key, value, match, mean_file):
    forge(mean_file, lambda document: state_of(document["model"]).__setitem__(key, value))
    refused(mean_file, match)


@pytest.mark.parametrize(
    ("key", "match"),
    [("image_shape", "lacks the parameters .'image_shape'"), ("mean_", "lacks 'mean_'")],
)
def test_attributes_that_are_missing(key, match, mean_file):
    forge(mean_file, lambda document: state_of(document["model"]).__delitem__(key))
    refused(mean_file, match)


def test_array_that_nothing_asks_for(mean_file):
    forge(mean_file, lambda document: None, lambda found: {"more": np.zeros(3)})
    refused(mean_file, r"nothing asks for: \['more'\]")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"encoder_width": 10**6}, "body.*needs torch.float32 of shape"),
        ({"latent_dim": 10**9}, "needs torch.float32 of shape"),
        ({"latent_dim": -1}, "RuntimeError|ValueError"),
        ({"image_shape": [1, 2**31, 2**31]}, "image_shape"),
        ({"stem": "os"}, "network with stem 'os'; expected one of"),
        ({"likelihood": [1]}, "network with likelihood"),
        ({"image_scale": None}, "image_scale that is no number"),
        ({"n_flows": 10**9}, "flow"),
        ({"no such": 1}, "TypeError"),
    ],
)
def test_network_that_disagrees_with_its_weights(change, match, vae_file, monkeypatch):
    def apply(document):
        arguments = state_of({"state": state_of(document["model"])["_net_args"]})
        for key, value in change.items():
            arguments[key] = {"tuple": value} if isinstance(value, list) else value

    monkeypatch.setattr(BaseImageEstimator, "_make_module", lambda *_: pytest.fail("was built"))
    forge(vae_file, apply)
    refused(vae_file, match)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (np.zeros((3, 3), np.float32), "is float32 of shape .3, 3.; the network needs"),
        (lambda a: a.astype(np.int32), "is int32 of shape"),
        (lambda a: a * np.float32(np.nan), "has NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit(weight, match, vae_file):
    def arrays(found):
        name = next(name for name in found if name.endswith("/head.weight"))
        return {name: weight(found[name]) if callable(weight) else weight}

    forge(vae_file, lambda document: None, arrays)
    refused(vae_file, match)


def test_array_that_is_not_of_its_type(tmp_path):
    model = StandardScaler()
    model.names_ = np.array(["a", "b"])
    path = save(model, tmp_path / "model.safetensors")

    def describe(dtype):
        def change(document):
            state_of(document["model"])["names_"]["array"]["dtype"] = dtype

        return change

    for dtype in ("|O", "<U1000000000", "<f8", [["a", "|O"]], "not a type", 3):
        forge(save(model, path), describe(dtype))
        refused(path, "not of the type it says|Error")
    forge(save(model, path), lambda _: None, lambda found: {"names_": found["names_"] | 0xF0})
    refused(path, "holds no texts")


# ---------------------------------------------------------------- indices in compiled code


def trees_of(document):
    """Yield the nodes of all decision trees."""
    pending = [document["model"]]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "decision_tree" in node:
                yield node
            pending += node.values()
        elif isinstance(node, list):
            pending += node


@pytest.mark.parametrize(
    ("estimator", "field", "value"),
    [
        (RandomForestClassifier(2), "left_child", 10**6),
        (RandomForestClassifier(2), "right_child", 0),
        (RandomForestClassifier(2), "feature", 10**6),
        (HistGradientBoostingClassifier(max_iter=2), "left", 10**6),
        (HistGradientBoostingClassifier(max_iter=2), "right", 0),
        (HistGradientBoostingClassifier(max_iter=2), "feature_idx", 10**6),
    ],
)
def test_trees_that_point_outside(estimator, field, value, digits, tmp_path):
    X, y = digits[0].reshape(300, -1), digits[1]
    path = save(estimator.fit(X, y), tmp_path / "model.safetensors")
    tree = getattr(estimator, "estimators_", None)
    dtype = tree[0].tree_.__getstate__()["nodes"].dtype if tree else None
    dtype = dtype or estimator._predictors[0][0].nodes.dtype

    def arrays(found):
        name = next(name for name in found if name.endswith("nodes"))
        nodes = np.frombuffer(found[name].tobytes(), dtype).copy()
        nodes[field][0] = value
        return {name: np.frombuffer(nodes.tobytes(), np.uint8).reshape(found[name].shape)}

    forge(path, lambda document: None, arrays)
    refused(path, "decision tree in it points outside")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("algorithm", [1], "Neighbours has 'algorithm' that is no text"),
        ("algorithm", "brute", "Neighbours has the algorithm 'brute'; expected one of"),
        # Damage may turn one letter of a flag; what would be compiled is half a minute's work.
        ("approximate", True, "Neighbours has 'approximate', which is neither"),
        ("n_neighbors", 10**9, "Neighbours has 'index' of another shape"),
        ("_same", {"float": "inf"}, "Neighbours has '_same' that is no number"),
        ("rows", None, "Neighbours has 'rows' that is no numbers"),
        ("more", 1, "Neighbours has 'more', which is neither"),
    ],
)
def test_parts_that_are_of_other_kinds(key, value, match, digits, tmp_path):
    path = tmp_path / "model.safetensors"
    save(OutlierScorer().fit(digits[0].reshape(300, -1) / 16), path)

    def change(document):
        state_of(state_of(document["model"])["_neighbours"])[key] = value

    forge(path, change)
    refused(path, match)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("components_", ["distance", "sparsity", "os"], "has scales of"),
        ("components_", [["distance"]], "has scales of"),
        ("_scales", {"dict": [["distance", 1], ["sparsity", 1]]}, "are no Surprise"),
        ("_neighbours", {"same": 0}, "'_neighbours' that is no Neighbours"),
    ],
)
def test_components_that_are_others(key, value, match, digits, tmp_path):
    path = tmp_path / "model.safetensors"
    save(OutlierScorer().fit(digits[0].reshape(300, -1) / 16), path)
    forge(path, lambda document: state_of(document["model"]).__setitem__(key, value))
    refused(path, match)


@pytest.mark.parametrize(
    ("key", "value"),
    [("node_count", 10**6), ("sizes", [64, {"scalar": None}, 10**9]), ("values", None)],
)
def test_trees_of_other_sizes_than_they_say(key, value, digits, tmp_path):
    X, y = digits[0].reshape(300, -1), digits[1]
    path = save(RandomForestClassifier(2).fit(X, y), tmp_path / "model.safetensors")

    def change(document):
        state = state_of(next(trees_of(document)))
        if key == "sizes":
            state["sizes"][2] = value[2]
        elif key == "values":
            state["values"]["array"]["order"] = "F"
        else:
            state[key] = value

    forge(path, change)
    refused(path, "decision tree in it is not of the size it says")


def test_neighbours_that_are_no_rows(digits, tmp_path):
    path = tmp_path / "model.safetensors"
    save(OutlierScorer().fit(digits[0].reshape(300, -1) / 16), path)
    forge(path, lambda _: None, lambda found: {"_neighbours/index": found["_neighbours/index"] + 9})
    refused(path, "points to no row")


# ---------------------------------------------------------------- values of skops


@pytest.fixture
def sparse_file(tmp_path):
    """A file with one value that skops carries."""
    model = make_pipeline(FunctionTransformer(np.sqrt), KMeans(2))
    return save(model, tmp_path / "model.safetensors")


def repacked(change):
    """Return what rewrites the archive of a file's value; `change` gets and returns its parts."""

    def arrays(found):
        (name,) = (name for name in found if name.endswith("func"))
        with zipfile.ZipFile(io.BytesIO(found[name].tobytes())) as archive:
            parts = {entry: archive.read(entry) for entry in archive.namelist()}
        out = io.BytesIO()
        compression = change(parts) or zipfile.ZIP_STORED
        with zipfile.ZipFile(out, "w", compression) as archive:
            for entry, content in parts.items():
                archive.writestr(entry, content)
        return {name: np.frombuffer(out.getvalue(), np.uint8)}

    return arrays


def test_functions_of_others_are_not_even_looked_up(sparse_file):
    def change(parts):
        parts["schema.json"] = parts["schema.json"].replace(b'"numpy"', b'"os"')

    forge(sparse_file, lambda _: None, repacked(change))
    refused(sparse_file, "asks for 'os', which no file may hold")


def test_archive_that_would_unpack_to_more(sparse_file):
    def change(parts):
        parts["x.npy"] = b"\0" * 10**6
        return zipfile.ZIP_DEFLATED

    forge(sparse_file, lambda _: None, repacked(change))
    refused(sparse_file, "would unpack to more")


def test_array_in_an_archive_that_declares_more(sparse_file):
    def change(parts):
        out = io.BytesIO()
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(out, header)
        parts["x.npy"] = out.getvalue() + b"\0" * 8

    forge(sparse_file, lambda _: None, repacked(change))
    refused(sparse_file, "not of the size it says")


def test_what_skops_would_have_to_be_told_to_trust_is_refused(sparse_file):
    data = np.frombuffer(skops.io.dumps(VAE()), np.uint8)
    forge(
        sparse_file,
        lambda _: None,
        lambda found: {next(name for name in found if name.endswith("func")): data},
    )
    refused(sparse_file, "asks for 'icecore_sk")
