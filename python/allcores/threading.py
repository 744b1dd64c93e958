"""Replaced piece by piece."""

from threading import *  # noqa: F403
