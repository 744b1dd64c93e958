"""Replaced piece by piece."""

from queue import *  # noqa: F403
