"""Detect an unreachable Hugging Face hub and use its cache at once, not after a minute of retries."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

ENDPOINT = "HF_ENDPOINT"  # environment variable of huggingface_hub: the address of another hub


def endpoint_fault(address: str | None = None) -> str | None:
    """Say in one line what is wrong with an address of a hub, by default HF_ENDPOINT; None if nothing is.

    huggingface_hub reads the variable when it is first imported, by timm too, and may raise anything then.
    """
    address = os.environ.get(ENDPOINT, "") if address is None else address
    fault = f"{ENDPOINT} = {address!r}: must be the address of a hub, such as https://huggingface.co"
    if not address:
        return None
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        return fault
    return None if sound and address.isascii() and not any(c.isspace() for c in address) else fault


def unreachable() -> str | None:
    """Say why the hub cannot be asked, or return None; asked once, without its library's retries.

    Any HTTP answer will do. Proxies and HF_ENDPOINT are followed, HF_HUB_ETAG_TIMEOUT says how long to wait, and
    HF_HUB_OFFLINE=1 is taken at its word.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    if fault := endpoint_fault(constants.ENDPOINT):
        return fault
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=constants.HF_HUB_ETAG_TIMEOUT):
            return None
    except urllib.error.HTTPError:
        return None
    except OSError as error:  # URLError is one, and so is a timeout
        reason = getattr(error, "reason", error)
        # certificates may be known to the hub library and not to Python
        return None if isinstance(reason, ssl.SSLError) else f"{constants.ENDPOINT} does not answer: {reason}"


@contextmanager
def answering_at_once(asked: bool = True) -> Iterator[str | None]:
    """Let the hub library use its cache alone inside the block if the hub is unreachable; yield why.

    With `asked` False nothing is looked up and nothing changed.
    """
    from huggingface_hub import constants

    reason = unreachable() if asked else None
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or reason is not None
    try:
        yield reason
    finally:
        constants.HF_HUB_OFFLINE = before
