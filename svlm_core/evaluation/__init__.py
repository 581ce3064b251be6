# SPDX-License-Identifier: Apache-2.0
"""How well a model watches: exams on the synthetic world, whose truth is known exactly."""
