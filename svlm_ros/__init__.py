# SPDX-License-Identifier: Apache-2.0
"""ROS 2 side of svlm: camera topics in, stamped captions out. The engine is in svlm_core."""
