# SPDX-License-Identifier: Apache-2.0
"""Questions about videos: the official files, prompts and rules of five benchmarks, and ours."""
