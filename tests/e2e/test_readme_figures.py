import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_figure_of_the_readme_comes_from_a_committed_output():
    place = ROOT / "tools" / "readme_figures.py"
    spec = importlib.util.spec_from_file_location("readme_figures", place)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    measured = (ROOT / "README.md").read_text(encoding="utf-8").split("## Measured\n\n")[1]
    assert measured.split("\n\n## ")[0] == tool.section()
