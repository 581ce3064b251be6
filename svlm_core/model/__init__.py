# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5-VL and Qwen2-VL, thin and our own: language, vision, checkpoints into both."""
