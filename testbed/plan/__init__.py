"""What follows from a topology, decided once and purely: the same spec gives the same plan, byte for byte."""

from testbed.plan.types import Interface, Link, Node, Plan, Role, Shape

__all__ = ["Interface", "Link", "Node", "Plan", "Role", "Shape"]
