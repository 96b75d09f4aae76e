"""The list of folders that are left out."""

import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.exclude import change_excluded, exclude_file, read_excluded


def test_folders_go_on_the_list_and_off_it(project):
    assert read_excluded(project) == ()
    assert change_excluded(project, add=["b"]) == ("b",)
    assert change_excluded(project / "config.yaml", add=["a"], remove=["b"]) == ("a",)
    assert read_excluded(project) == ("a",)


def test_config_yaml_stays_as_it_is(project):
    before = (project / "config.yaml").read_bytes()
    change_excluded(project, add=["a"])
    assert (project / "config.yaml").read_bytes() == before
    assert exclude_file(project) == project / "shoal" / "exclude.txt"


@pytest.mark.parametrize("name", ["nosuch", "", "..", "../videos", "/etc"])
def test_only_existing_folders_are_added(project, name):
    with pytest.raises(ProjectError, match="labeled-data"):
        change_excluded(project, add=[name])
    assert not exclude_file(project).exists()


def test_only_listed_folders_are_removed(project):
    change_excluded(project, add=["a"])
    with pytest.raises(ProjectError, match="on the list") as raised:
        change_excluded(project, remove=["b"])
    assert "a" in raised.value.hint
