# SPDX-License-Identifier: Apache-2.0
"""The tables and figures of arXiv 2510.09608, each measured beside what was published."""
