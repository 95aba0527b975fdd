"""The fault actions, by name. A new one is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from testbed.run.faults.base import Action, Beat, Strike
from testbed.run.faults.crash import Crash
from testbed.run.faults.cut import Cut
from testbed.run.faults.degrade import Degrade
from testbed.run.faults.drop import Drop
from testbed.run.faults.flap import Flap
from testbed.run.faults.kill import Kill
from testbed.run.faults.maintenance import Maintenance
from testbed.run.faults.one_way import OneWay
from testbed.run.faults.partition import Partition
from testbed.run.faults.silent import Silent

_ALL: tuple[Action[Any], ...] = (
    Cut(),
    Silent(),
    OneWay(),
    Flap(),
    Degrade(),
    Partition(),
    Maintenance(),
    Crash(),
    Kill(),
    Drop(),
)
ACTIONS: Mapping[str, Action[Any]] = MappingProxyType({action.name: action for action in _ALL})

__all__ = ["ACTIONS", "Action", "Beat", "Strike"]
