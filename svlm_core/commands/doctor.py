# SPDX-License-Identifier: Apache-2.0
"""`svlm doctor`: what is installed, what will be used, and what to do about the rest."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from svlm_core.errors import SvlmError

if TYPE_CHECKING:  # a doctor must live where torch is missing
    import torch


@dataclass(frozen=True)
class Finding:
    """One line of the report: `ok` False is a fault, None is an option that is not there."""

    what: str
    ok: bool | None
    found: str
    advice: str = ''


@dataclass(frozen=True)
class Doctor:
    """Say what is installed and used, and what is missing.

    The exit status is 0 when captioning works on this machine, with or without ROS and GPU.
    """

    def run(self) -> int:
        """Print the findings and return the exit status."""
        from rich.text import Text

        from svlm_core.commands.console import marked, screen

        console = screen()
        findings = python_stack()
        if all(finding.ok for finding in findings):  # the other checks use these libraries
            findings += [finding for check in CHECKS for finding in check()]
        for finding in findings:
            console.print(marked(finding.ok, finding.what, finding.found))
            if finding.advice:
                console.print(Text(f'{"":21}-> {finding.advice}'))
        return 1 if any(finding.ok is False for finding in findings) else 0


def python_stack() -> list[Finding]:
    """The interpreter and the libraries that captioning cannot do without."""
    advice = 'make setup, or in the folder of the source: pip install .'
    return [
        Finding('python', True, f'{platform.python_version()} on {platform.machine()}'),
        *(_library(name, advice, needed=True) for name in NEEDED),
    ]


def device() -> list[Finding]:
    """The processor that will run the model, and how it attends."""
    import torch

    cuda = torch.cuda.is_available()
    where = torch.device('cuda' if cuda else 'cpu')
    if cuda:
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
        found = f'{torch.cuda.get_device_name()}, {free:.1f} of {total:.1f} GiB free'
        gpu = Finding('gpu', True, found)
    elif torch.version.cuda:
        gpu = Finding('gpu', None, 'no CUDA device visible', 'check nvidia-smi and the driver')
    else:
        advice = (
            'for a GPU: make setup TORCH_INDEX=URL, or pip install --force-reinstall torch '
            '--index-url URL, where URL is an index with CUDA builds of torch'
        )
        gpu = Finding('gpu', None, 'this build of torch has no CUDA', advice)
    count = torch.get_num_threads()
    threads = f'cpu, {count} thread{"s" * (count != 1)}'
    return [
        gpu,
        Finding('device', True, f'will use {where if cuda else threads}'),
        *attention(where, torch.bfloat16 if cuda else torch.float32),
    ]


def attention(where: torch.device, dtype: torch.dtype) -> list[Finding]:
    """The back end that will attend there, and what became of the others."""
    from svlm_core.model.attention import BACKENDS
    from svlm_core.model.backends import choose_backend, verdict

    chosen = choose_backend(where, dtype)
    others = {name: verdict(name, where, dtype) for name in BACKENDS if name != chosen}
    runs = ', '.join(name for name, problem in others.items() if not problem)
    return [
        Finding(
            'attention', True, f'will use {chosen}' + (f'; {runs} would run too' * bool(runs))
        ),
        *(Finding(f'  {name}', None, problem) for name, problem in others.items() if problem),
    ]


def embedded_model() -> list[Finding]:
    """The model that is used when none is named."""
    from svlm_core.engine import StreamingVLM

    try:
        info = StreamingVLM.from_pretrained(device='cpu').info
    except SvlmError as error:
        return [Finding('default model', False, str(error), 'install svlm again')]
    size = f'{info.model}, {info.parameters / 1e6:.1f} M parameters'
    if info.trained:
        return [Finding('default model', True, size)]
    advice = 'its captions are noise; name a trained checkpoint with --model'
    return [Finding('default model', True, f'{size}, UNTRAINED', advice)]


def ros() -> list[Finding]:
    """ROS 2, and the interfaces of this package."""
    setup = 'make setup, or source /opt/ros/DISTRO/setup.bash'
    if find_spec('rclpy') is None:
        return [Finding('ros 2', None, 'rclpy is not importable', setup)]
    distro = os.environ.get('ROS_DISTRO', 'from wheels')
    messages = find_spec('svlm')
    built = messages is not None and messages.origin is not None  # not a mere folder svlm/
    interfaces = Finding(
        'svlm interfaces',
        built or None,
        'svlm.msg is built' if built else 'svlm.msg is not built or not sourced',
        '' if built else 'make setup, or colcon build and source install/setup.bash',
    )
    return [Finding('ros 2', True, f'rclpy {_version("rclpy")}, {distro}'), interfaces, _images()]


NEEDED = (  # as imported; pyproject.toml says which versions
    'torch',
    'transformers',
    'tokenizers',
    'safetensors',
    'accelerate',
    'numpy',
    'av',
    'rich',
    'tyro',
)
CHECKS: tuple[Callable[[], list[Finding]], ...] = (device, embedded_model, ros)
BAGS = 'pip install "svlm[bags]", or on Ubuntu with ROS: apt install ros-DISTRO-cv-bridge'


def _images() -> Finding:
    names = {'cv_bridge': 'cv_bridge', 'rosbags.image': 'rosbags-image'}
    present = [label for module, label in names.items() if _has(module)]
    if present:
        return Finding('ros images', True, f'{" and ".join(present)}; the node probes at start')
    return Finding('ros images', None, 'no converter', BAGS)


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _library(name: str, advice: str, needed: bool = False) -> Finding:
    if _has(name):
        return Finding(name, True, _version(name))
    return Finding(name, False if needed else None, 'not installed', advice)


def _version(name: str) -> str:
    for distribution in (name, name.replace('_', '-'), f'ros-jazzy-{name}', f'ros-{name}'):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return 'of unknown version'
