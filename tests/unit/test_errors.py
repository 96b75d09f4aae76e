import inspect

import pytest

from shoal import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.ProjectError, 2),
        (errors.VideoError, 2),
        (errors.CheckpointError, 2),
        (errors.ArtifactError, 3),
        (errors.ResourceError, 4),
    ],
)
def test_exit_codes_follow_the_tree(kind, code):
    error = kind("expected a, got b", hint="do c")
    assert (error.exit_code, error.message, error.hint) == (code, "expected a, got b", "do c")


def test_every_error_has_the_one_base():
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, errors.ShoalError)


def test_partial_failure_carries_its_table():
    error = errors.PartialFailure("1 of 2 failed", [("a.mp4", "empty")])
    assert error.exit_code == 5 and error.failures == [("a.mp4", "empty")]
