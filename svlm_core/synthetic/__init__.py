# SPDX-License-Identifier: Apache-2.0
"""The synthetic world: endless, seeded camera streams with exact captions."""

from svlm_core.synthetic.captions import Meaning, meaning
from svlm_core.synthetic.script import SKILLS, TASKS, Second
from svlm_core.synthetic.story import Story, seed_to_test, seed_to_train
from svlm_core.synthetic.video import render_video

__all__ = [
    'SKILLS',
    'TASKS',
    'Meaning',
    'Second',
    'Story',
    'meaning',
    'render_video',
    'seed_to_test',
    'seed_to_train',
]
