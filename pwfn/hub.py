"""The Hugging Face hub, when it does not answer: fall back to what is on this machine at once, not after a minute."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


def unreachable() -> str | None:
    """Why the hub cannot be asked, or None if it answers. Asked once, without the hub library's own retries.

    Any HTTP answer will do. Proxies and HF_ENDPOINT are followed, HF_HUB_ETAG_TIMEOUT says how long to wait, and
    HF_HUB_OFFLINE=1 is taken at its word.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
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
    """Inside the block the hub library uses its cache alone if the hub is unreachable; yields why it is, or None.

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
