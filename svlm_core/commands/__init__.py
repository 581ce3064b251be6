# SPDX-License-Identifier: Apache-2.0
"""What `svlm` can do, one module a command."""
