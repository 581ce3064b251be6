# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of live commentary: Inf-Streams-Eval and the captions of LiveSports-3K."""
