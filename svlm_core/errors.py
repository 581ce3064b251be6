# SPDX-License-Identifier: Apache-2.0
"""The errors a user can meet: each says what happened, where, and what to do."""

from __future__ import annotations


class SvlmError(Exception):
    """Base of every error that svlm raises on purpose; its text is one clear line."""


class SettingsError(SvlmError):
    """A setting is out of range or contradicts another one."""


class CheckpointError(SvlmError):
    """A checkpoint folder is missing a file, or holds another architecture."""


class TokenizerError(SvlmError):
    """A tokenizer lacks a special token of Qwen's chat layout."""


class FrameError(SvlmError):
    """Frames of a shape, type or size that the engine cannot take."""


class SourceError(SvlmError):
    """A video, folder or camera cannot be read."""


class OutputError(SvlmError):
    """A caption file cannot be written."""


class MemoryFull(SvlmError):
    """A policy without a bound has reached its capacity, or a device has no room for one."""


class DeviceFull(SvlmError):
    """The device has no room for the weights, or for the work of one round."""
