"""What of the network an agent may reach, as people write it, in its one normal form HOST:PORT.

A rule of text only: nothing is looked up. What could mean more than it says, or would be read
otherwise by whoever connects, is refused with what to write instead.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PlainValidator

from fleet.files.fields import as_flag, as_text, shown

NETWORKS: Final = ("none", "loopback", "full")
DESTINATIONS: Final = 100
USUAL_PORT: Final = 443
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""What is reached inside at the same address."""

FIRST_OPEN_PORT: Final = 1_024
"""From here on anybody may open a port."""

_FORM = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([0-9]{1,5}))?\Z")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
NAME_CHARS: Final = 253


def destination(text: str) -> str:
    """Returns the normal form of a host with its port; raises ValueError with what to write."""
    if "/" in text or "@" in text:
        raise ValueError(f"{text!r} is no host: write its name alone, as api.example.org:443")
    found = _FORM.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no HOST:PORT; an IPv6 address stands in brackets")
    host = (found[1] if found[1] is not None else found[2]).lower().removesuffix(".")
    port = int(found[3] or USUAL_PORT)
    if not 1 <= port <= 65_535:
        raise ValueError(f"{text!r}: a port is a number from 1 to 65535")
    host = _address(host, text) if _is_address(host) or found[1] is not None else _name(host, text)
    if host in LOOPBACK:
        if not found[3]:
            raise ValueError(f"{text!r} needs its port, as {host}:8080")
        if port < FIRST_OPEN_PORT:
            raise ValueError(f"{text!r}: no port below {FIRST_OPEN_PORT} can be opened inside")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(host: str) -> bool:
    """Returns whether a host would be read as an address, however odd: its last part a number."""
    return bool(re.match(r"(0x[0-9a-f]*|[0-9]+)\Z", host.rpartition(".")[2]))


def _address(host: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ValueError(f"{text!r} is no address") from None


def _name(host: str, text: str) -> str:
    wild = host.startswith("*.")
    labels = host.removeprefix("*.").split(".")
    if not host.isascii():
        raise ValueError(f"{text!r}: write the name as it is asked for, beginning with xn--")
    if not all(map(_LABEL.match, labels)) or len(host) > NAME_CHARS:
        raise ValueError(f"{text!r} is no name of a host; a `*.` may only stand before one")
    if wild and len(labels) < 2:
        raise ValueError(f"{text!r} is too wide; for all of the network write `network: full`")
    return host


class _Whole(str):
    """All of the network, or none of it: what stands alone."""

    __slots__ = ()


def as_destinations(value: Any) -> Any:
    """Returns what of the network is shared as a list: one word for all or none, else places."""
    if isinstance(value, list):
        if len(value) > DESTINATIONS:
            raise ValueError(f"names more than {DESTINATIONS} places")
        return value or [_Whole("none")]
    try:
        return [_Whole("full" if as_flag(value) else "none")]
    except ValueError:
        if not isinstance(value, str):
            raise ValueError(
                f"expected {', '.join(NETWORKS)} or a list of HOST:PORT, got {shown(value)}"
            ) from None
        return [_Whole(value)] if value in NETWORKS else [value]


def as_destination(value: Any) -> str:
    """Returns one place of the network as HOST:PORT."""
    if isinstance(value, _Whole):
        return value
    if value in NETWORKS:
        raise ValueError(f"{value!r} stands alone, as `network: {value}`")
    return destination(as_text(value))


def once(value: list[str]) -> list[str]:
    """Returns each word once, plain."""
    return list(dict.fromkeys(map(str, value)))


Network = Annotated[
    list[Annotated[str, PlainValidator(as_destination, json_schema_input_type=str)]],
    BeforeValidator(
        as_destinations,
        json_schema_input_type=bool | str | list[str],
    ),
    AfterValidator(once),
]
