# SPDX-License-Identifier: Apache-2.0
"""What holds for every test."""

from __future__ import annotations

import signal

# A run in the background of a shell ignores SIGINT, and so would every process that tests start
# and end with it.
signal.signal(signal.SIGINT, signal.default_int_handler)
