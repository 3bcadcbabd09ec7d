"""The command `icecore`."""

import numpy as np
import pandas as pd
import pytest

from icecore_sk.survey import cli, demo


@pytest.fixture
def quick(monkeypatch):
    """The demonstration with few epochs."""
    settings = {"classifier": 3, "flow_vae": 3, "min_cluster_size": 20}
    monkeypatch.setitem(demo.SETTINGS, "digits", settings)


def test_demo_writes_map_and_table(quick, tmp_path, capsys):
    out = tmp_path / "with space"
    code = cli.main(["demo", "--quiet", "--out", str(out), "--held-out", "1", "7"])
    printed = capsys.readouterr()
    assert code == 0
    assert printed.err == ""
    for word in ("closed-set accuracy", "novelty AUROC", "ACC", "NMI", "seconds", "FlowVAE"):
        assert word in printed.out
    assert (out / "maps.png").read_bytes().startswith(b"\x89PNG")
    particles = pd.read_csv(out / "particles.csv")
    assert set(particles["digit"][particles["held_out"]]) == {1, 7}
    assert set(particles["digit"]) == set(range(10))
    assert np.isfinite(particles.filter(regex="_x|_y|_score").to_numpy()).all()


def test_models_of_the_demo_never_see_the_held_out_digits():
    X_known, y_known, X_test, y_test = demo.load_split("digits", (3, 8))
    assert not {3, 8} & set(y_known)
    assert {3, 8} < set(y_test)
    assert len(X_known) == len(y_known)
    assert len(X_test) == len(y_test)


@pytest.mark.parametrize(
    "words", [[], ["dig"], ["demo", "--data", "cats"], ["demo", "--held-out", "two"]]
)
def test_wrong_usage_exits_with_2(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert "usage: icecore" in capsys.readouterr().err


def test_an_error_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert cli.main(["demo", "--quiet", "--out", str(tmp_path), "--held-out", "11"]) == 1
    assert capsys.readouterr().err.startswith("icecore: error: digits=[11] holds [11]")
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--quiet", "--out", str(tmp_path / "file")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["--version"]])
def test_help_teaches(words, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(words)
    assert "icecore" in capsys.readouterr().out
