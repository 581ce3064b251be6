# SPDX-License-Identifier: Apache-2.0
"""Overlapped-chunk training: what inference does, learnt on short pieces of stream."""
