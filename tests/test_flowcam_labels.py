"""Labels of load_flowcam: joined by run and id, counted, and refused where they are unclear."""

import numpy as np
import pandas as pd
import pytest
from flowcam_run import make_run

from icecore_sk.datasets import load_flowcam
from icecore_sk.datasets.labels import join_labels, read_labels

pytestmark = pytest.mark.filterwarnings("error")  # a test that expects a warning says so


def write_labels(path, rows, header="run,Original Reference ID,label"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_labels_join_by_id(tmp_path):
    make_run(tmp_path / "run")
    labels = write_labels(
        tmp_path / "labels.csv",
        ["run,RUN-0000,dust", "run,RUN-0002,pollen", "run,RUN-0003,dust", "other,X,dust"],
    )
    table, y = load_flowcam(tmp_path / "run", 16, labels=labels, verbose=0)
    assert y.index.equals(table.index)
    assert y.tolist() == ["dust", None, "pollen", None, None]
    assert table.attrs["labels"] == {
        "matched": 2,
        "unlabelled": 3,
        "dropped": 1,
        "other_runs": 1,
        "unknown": 0,
    }
    same = pd.read_csv(labels)
    pd.testing.assert_series_equal(y, load_flowcam(tmp_path / "run", 16, labels=same, verbose=0)[1])


def test_unknown_labels_are_counted(tmp_path):
    make_run(tmp_path / "run")
    labels = write_labels(tmp_path / "labels.csv", ["run,RUN-0000,dust", "run,NOBODY,dust"])
    with pytest.warns(UserWarning, match=r"1 id\(s\) that no particle read has, such as 'NOBODY'"):
        table, y = load_flowcam(tmp_path / "run", 16, labels=labels, verbose=0)
    assert table.attrs["labels"]["unknown"] == 1
    assert y.notna().sum() == 1


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("run,id,label", ["run,RUN-0000,dust"], r"lacks the column\(s\) \['Original Reference ID"),
        ("run,Original Reference ID,label", ["a,X,dust", "a,X,pollen"], "different labels"),
        ("run,Original Reference ID,label", ["a,X"], r"has 1 line\(s\) with more or fewer cells"),
        ("run,Original Reference ID,label", [], "has no rows"),
        ("label,Original Reference ID,label", ["a,X,a"], r"several columns named \['label'\]"),
        ("run;Original Reference ID;label", ["a;X;b"], "has ';' between its columns"),
        ("run,Original Reference ID,label", ['a,X,"b'], "cannot be read from line 2 on"),
    ],
)
def test_bad_labels(tmp_path, header, rows, message):
    make_run(tmp_path / "run")
    labels = write_labels(tmp_path / "labels.csv", rows, header)
    with pytest.raises(ValueError, match=message):
        load_flowcam(tmp_path / "run", 16, labels=labels, verbose=0)


def test_missing_and_empty_labels(tmp_path):
    make_run(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="labels='nowhere"):
        load_flowcam(tmp_path / "run", 16, labels="nowhere.csv", verbose=0)
    (tmp_path / "labels.csv").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        load_flowcam(tmp_path / "run", 16, labels=tmp_path / "labels.csv", verbose=0)


def test_labels_of_any_shape(tmp_path):
    """Byte order mark, Windows line ends, quotes, spaces, repeated rows, other order, no run."""
    make_run(tmp_path / "run")
    text = (
        'label,"Original Reference ID"\r\n"dust", RUN-0000\r\n\r\ndust,RUN-0000\r\n ,RUN-0001\r\n'
    )
    (tmp_path / "labels.csv").write_bytes(text.encode("utf-8-sig"))
    table, y = load_flowcam(tmp_path / "run", 16, labels=str(tmp_path / "labels.csv"), verbose=0)
    assert y.tolist() == ["dust", None, None, None, None]
    assert table.attrs["labels"]["matched"] == 1
    (tmp_path / "labels.csv").write_bytes(text.encode("utf-16"))
    _, same = load_flowcam(tmp_path / "run", 16, labels=tmp_path / "labels.csv", verbose=0)
    pd.testing.assert_series_equal(y, same)


def test_labels_that_are_numbers_stay_numbers(tmp_path):
    make_run(tmp_path / "run")
    ids = [f"RUN-{k:04d}" for k in range(6)]
    labels = pd.DataFrame({"Original Reference ID": ids, "label": range(6)})
    _, y = load_flowcam(tmp_path / "run", 16, labels=labels, verbose=0)
    assert y.dtype == np.int64
    assert y.tolist() == [0, 1, 2, 4, 5]
    _, y = load_flowcam(tmp_path / "run", 16, labels=labels[1:], verbose=0)
    assert y.tolist() == [None, 1, 2, 4, 5]
    assert type(y.iloc[1]) is int


def test_labels_of_nothing(tmp_path):
    make_run(tmp_path / "run")
    labels = write_labels(tmp_path / "labels.csv", ["other,X,dust"])
    with pytest.warns(UserWarning, match="no label for any of the 5 particles: its ids are like"):
        _, y = load_flowcam(tmp_path / "run", 16, labels=labels, verbose=0)
    assert y.isna().all()
    with pytest.raises(TypeError, match="labels is a list; expected a DataFrame"):
        load_flowcam(tmp_path / "run", 16, labels=["dust"] * 5, verbose=0)


def test_an_id_that_several_runs_have_gets_no_label_by_chance():
    index = pd.MultiIndex.from_product([["A", "B"], ["1", "2"]], names=["run", "id"])
    known = read_labels(pd.DataFrame({"Original Reference ID": ["1"], "label": ["dust"]}))
    with pytest.raises(ValueError, match="the id '1' is of several particles"):
        join_labels(known, index)


def test_minus_one_is_no_label(tmp_path):
    make_run(tmp_path / "run")
    rows = ["run,RUN-0000,1", "run,RUN-0002,-1"]
    labels = write_labels(tmp_path / "labels.csv", rows)
    _, y = load_flowcam(tmp_path / "run", 16, labels=labels, verbose=0)
    assert y.tolist() == ["1", None, None, None, None]
