"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.filterwarnings("ignore:n_jobs value")
@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README.read_text(), re.S))
def test_python_block(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert re.search(r"\d+ clusters; \d+ outliers", capsys.readouterr().out)
