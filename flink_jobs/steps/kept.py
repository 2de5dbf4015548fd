"""Text to bytes in Flink's keyed state, with few ways across the border between Python and the JVM."""

from __future__ import annotations

from pyflink.datastream.state import MapState

_NEAR = 100_000


class Kept:
    """A `core.identity.state.Store` over a MapState.

    What was read or written lately is at hand, and while that is all there is, nothing else is looked for. Writes wait
    for `flush`, which must come before the operator returns: Flink takes a checkpoint between two elements.
    """

    def __init__(self, state: MapState) -> None:
        """`state` is of the current key, and stays so."""
        self._state = state
        self._near: dict[str, bytes | None] = {}
        self._unsaved: dict[str, bytes] = {}
        self._all_near: bool = state.is_empty()

    def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        if key in self._near:
            return self._near[key]
        if self._all_near:
            return None
        value: bytes | None = self._state.get(key)
        self._hold(key, value)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Set the value."""
        self._unsaved[key] = value
        self._hold(key, value)

    def delete(self, key: str) -> None:
        """Remove the value."""
        self._unsaved.pop(key, None)
        self._state.remove(key)
        self._hold(key, None)

    def names(self) -> list[str]:
        """The keys of all values."""
        self.flush()
        return list(self._state.keys())

    def flush(self) -> None:
        """Write what was put."""
        if self._unsaved:
            self._state.put_all(self._unsaved)
            self._unsaved.clear()

    def _hold(self, key: str, value: bytes | None) -> None:
        if len(self._near) >= _NEAR and key not in self._near:
            del self._near[next(iter(self._near))]
            self._all_near = False
        self._near[key] = value
