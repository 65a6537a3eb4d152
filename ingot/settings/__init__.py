"""The values of hosts, typed: one model per section of group_data/all.py, read once per host."""

from ingot.settings.read import WrongValues, check_given, of_host, section
from ingot.settings.settings import NAMES, Settings

__all__ = ["NAMES", "Settings", "WrongValues", "check_given", "of_host", "section"]
