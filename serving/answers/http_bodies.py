"""What a server of somebody else's answers, as far as there is room for it."""

from __future__ import annotations

import httpx


async def beginning(response: httpx.Response, most: int) -> bytes:
    """The bytes of a body that isn't read yet; of one of more than `most`, some more than that and not all."""
    found = bytearray()
    async for part in response.aiter_bytes():
        found += part
        if len(found) > most:
            break
    return bytes(found)
