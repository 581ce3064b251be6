# SPDX-License-Identifier: Apache-2.0
"""Other people's models, behind an OpenAI-compatible endpoint that the user names."""
