#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command with ROS 2 and svlm sourced.
set -e
source /opt/ros/jazzy/setup.bash
source /opt/svlm/install/setup.bash
exec "$@"
