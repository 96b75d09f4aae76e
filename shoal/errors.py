"""The error tree: everything that shoal raises on purpose.

::

    ShoalError(message, hint)        one base to catch
    |- InputError                    the user can fix it                 exit 2
    |  |- ConfigError  ProjectError  VideoError  CheckpointError
    |- ArtifactError                 run folder wrong or incomplete      exit 3
    |- ResourceError                 device, memory, disk, queue         exit 4
    |- PartialFailure                batch done, some items failed       exit 5
    anything else                    a bug: traceback                    exit 1

A message says what was expected, what came and where; the hint says what to do.
"""

from __future__ import annotations


class ShoalError(Exception):
    """Base of all errors that shoal raises on purpose.

    Args:
        message: expected / got / where, one to three lines.
        hint: what the user can do next; empty if there is nothing to say.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(ShoalError):
    """Something that the user gave cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration value or key is wrong."""


class ProjectError(InputError):
    """A project folder, or a file in it, cannot be used."""


class VideoError(InputError):
    """A video cannot be opened or holds no readable frame."""


class CheckpointError(InputError):
    """A model file is missing, damaged or does not fit."""


class ArtifactError(ShoalError):
    """A run folder is incomplete, or holds something that shoal did not write."""

    exit_code = 3


class ResourceError(ShoalError):
    """The machine is short of something: device, memory, disk, queue. Worth a retry."""

    exit_code = 4


class Stopped(ResourceError):
    """Work ended early because somebody asked; what is done is saved and the same command goes on.

    Args:
        message: where it stopped.
        signal_name: the signal that asked, such as SIGTERM; empty if it was none.
    """

    def __init__(self, message: str, *, hint: str = "", signal_name: str = "") -> None:
        super().__init__(message, hint=hint)
        self.signal_name = signal_name


class PartialFailure(ShoalError):
    """A batch is done but some items failed.

    Args:
        message: how many of how many failed.
        failures: one (item, reason) per failed item.
    """

    exit_code = 5

    def __init__(self, message: str, failures: list[tuple[str, str]], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.failures = failures
