# SPDX-License-Identifier: Apache-2.0
"""From a folder of videos to rows that a model learns from, stage by stage."""
