# SPDX-License-Identifier: Apache-2.0
"""Ablations: grids of models and settings, tried on synthetic worlds, as tables of the paper."""
