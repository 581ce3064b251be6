# SPDX-License-Identifier: Apache-2.0
"""Give pip the version that package.xml names, so that ROS and pip never disagree."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

setup(version=ElementTree.parse(Path(__file__).parent / 'package.xml').findtext('version'))
