"""ARCHITECTURE.md tells the truth about the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def test_the_seven_concepts_are_where_the_table_says():
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| (`[^`]+`|\*later\*) \|$", TEXT.split("## 2. Layout")[0], flags=re.M)
    assert [name for name, _ in rows] == ["Project", "Table", "Stage", "Config", "Model", "Run", "Edit"]
    missing = [place for _, place in rows if place != "*later*" and not (ROOT / place.strip("`")).exists()]
    assert not missing


def test_the_module_list_is_the_tree():
    block = TEXT.split("## 2. Layout")[1].split("```")[1]
    listed = re.findall(r"^\s*([\w/]+\.py)\s{2,}\S", block, flags=re.M)
    tree = {str(f.relative_to(ROOT / "shoal")) for f in (ROOT / "shoal").rglob("*.py") if f.name != "__init__.py"}
    assert len(listed) == len(set(listed))
    assert set(listed) - tree == set(), "listed but not there"
    assert tree - set(listed) == set(), "there but not listed"


def test_modules_listed_as_later_are_not_there_yet():
    later = TEXT.split("*Later*:")[1].split("\n\n")[0]
    names = [n for n in re.findall(r"`([\w/]+\.py)`", later) if "/" in n]
    assert names and not [n for n in names if (ROOT / "shoal" / n).exists()]
