# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 2 (.mcap and .db3) in and out, without ROS: the library rosbags does the formats."""

from __future__ import annotations

from importlib.util import find_spec

from svlm_core.errors import SettingsError


def require_rosbags() -> None:
    """Say what to do where the library is absent; call it before a module here is imported.

    Raises SettingsError.
    """
    if find_spec('rosbags') is None:
        raise SettingsError('bags need the library rosbags: run pip install "svlm[bags]"')
