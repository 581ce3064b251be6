# SPDX-License-Identifier: Apache-2.0
"""The synthetic world: endless, seeded camera streams to try, show and test svlm with."""

from svlm_core.synthetic.scene import Scene, Thing, Zone
from svlm_core.synthetic.video import render_video

__all__ = ['Scene', 'Thing', 'Zone', 'render_video']
