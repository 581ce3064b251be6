# SPDX-License-Identifier: Apache-2.0
"""Replay of a bag through the engine: captions as the live node would give them, and a report."""
