# SPDX-License-Identifier: Apache-2.0
"""How fast a model watches on this machine, and how close that is to what the machine allows."""
