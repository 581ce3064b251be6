# SPDX-License-Identifier: Apache-2.0
"""Video in, captions out: sources of frames, rounds of a stream, sizes, caption files."""
