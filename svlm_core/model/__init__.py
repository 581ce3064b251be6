# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5-VL, thin and our own: language model, vision tower, and checkpoints into both."""
