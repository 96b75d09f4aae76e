import ast
import inspect

import pytest

import shoal.deeplabcut as deeplabcut
from shoal.deeplabcut.keywords import REFUSED, WITHOUT_EFFECT, bind, unused
from shoal.errors import ConfigError

FUNCTIONS = sorted(name for name in deeplabcut.__all__ if not name.startswith("_"))


def example(config, videos, video_extensions=None, shuffles=(1,), allow_growth=False, modelprefix="", engine=None):
    pass


SIGNATURE = inspect.signature(example)


@pytest.mark.parametrize("alias", ["videotype", "video_extensions"])
def test_old_names_are_taken(alias):
    found = bind("example", SIGNATURE, ("c", ["v"]), {alias: ".mp4", "Shuffles": [2]})
    assert found["video_extensions"] == ".mp4" and found["shuffles"] == [2] and found["videos"] == ["v"]


def test_an_unknown_keyword_is_an_error_with_the_nearest():
    with pytest.raises(ConfigError, match="vidoetype") as caught:
        bind("example", SIGNATURE, ("c", "v"), {"vidoetype": 1})
    assert "videotype" in caught.value.hint


@pytest.mark.parametrize(
    "kwargs",
    [{"videotype": 1, "video_extensions": 2}, {"modelprefix": "x"}, {"engine": "tensorflow"}, {"config": "again"}],
)
def test_what_cannot_be_right_is_an_error(kwargs):
    with pytest.raises(ConfigError):
        bind("example", SIGNATURE, ("c", "v"), kwargs)
    with pytest.raises(ConfigError, match="config"):
        bind("example", SIGNATURE, (), {})


def test_only_values_that_differ_from_the_default_are_named():
    for given, named in (({}, 0), ({"allow_growth": False}, 0), ({"allow_growth": True}, 1)):
        found = bind("example", SIGNATURE, ("c", "v"), given)
        assert len(unused("example", SIGNATURE, found)) == named


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_keyword_is_swallowed(name):
    """Every parameter is used in the body, or has a reason why it changes nothing, or why it is refused."""
    function = inspect.unwrap(getattr(deeplabcut, name))
    parameters = inspect.signature(function).parameters
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    body = ast.parse(inspect.getsource(function)).body[0].body
    used = {node.id for part in body for node in ast.walk(part) if isinstance(node, ast.Name)}
    idle = {key for key in parameters if key in WITHOUT_EFFECT or f"{name}.{key}" in WITHOUT_EFFECT}
    assert not set(parameters) - used - idle - set(REFUSED) - {"engine"}
    assert not used & idle, "said to be without effect, but used"
