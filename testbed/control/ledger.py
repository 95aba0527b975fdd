"""What a forwarder is told: rows as they should be, and the lines that are still missing for that."""

from __future__ import annotations


class Ledger:
    """Rows of the forwarder's language by their kind and key ("label 16003"), each with the words behind it.

    `changes()` are the lines of an update that takes the forwarder from where the last call left it to where it should
    be. Pure: whoever sends the lines calls `forget()` when the forwarder has lost its tables.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._touched: dict[str, None] = {}  # in the order they were, so that branches go before their segment

    def put(self, key: str, words: str | None) -> None:
        """Want this row; None: want it no longer."""
        if self._wanted.get(key) == words:
            return
        if words is None:
            del self._wanted[key]
        else:
            self._wanted[key] = words
        self._touched[key] = None

    def rows(self) -> list[str]:
        """All that is wanted."""
        return [f"{key} {words}" for key, words in self._wanted.items()]

    def count(self, kind: str) -> int:
        """How many rows of a kind are wanted."""
        return sum(1 for key in self._wanted if key.startswith(f"{kind} "))

    def forget(self) -> None:
        """The forwarder has lost its tables."""
        self._told.clear()
        self._touched = dict.fromkeys(self._wanted)

    def changes(self) -> list[str]:
        """The lines to be sent, and to be sent only once."""
        lines: list[str] = []
        for key in self._touched:
            wanted, told = self._wanted.get(key), self._told.get(key)
            if wanted == told:
                continue
            if wanted is None:
                del self._told[key]
                lines.append(f"del {key}")
            else:
                self._told[key] = wanted
                lines.append(f"{key} {wanted}")
        self._touched.clear()
        return lines
