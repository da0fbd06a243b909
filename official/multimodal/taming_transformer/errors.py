"""The package's own exception types: one line each, naming file, expectation and cure."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint is unreadable, truncated, lying, carries code, or is one of another model."""


class DownloadError(OSError):
    """A download failed: the server's answer or the bytes it sent were not usable."""


class WeightsUnavailableError(RuntimeError):
    """No source of a model's weights could be used; the message lists every one that was tried."""
