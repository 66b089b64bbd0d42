"""URLs as names, and what of them may be told."""

from __future__ import annotations

import re

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_PASSWORD = re.compile(r"(?<=://)[^/\s@'\"]*@")
# What signs a URL for a while: of S3, Google, Azure and CloudFront, and by the usual words.
_SECRET = re.compile(
    r"([?&](?:x-(?:amz|goog)-[^=&\s]*|s[etvpr]|spr|[^=&\s]*(?:sig|token|key|secret|pass|credential|auth|policy|expires)[^=&\s]*)=)"
    r"[^&\s'\"#)]*",
    re.IGNORECASE,
)


def is_url(name: str) -> bool:
    """Whether a name is for fsspec."""
    return _URL.match(name) is not None


def secretless(text: str) -> str:
    """A URL, or a text with URLs in it, without user names, passwords and the values that sign a URL.

    A URL that is signed anew is the same afterwards, which lets a run go on with it.
    """
    return _SECRET.sub(r"\1…", _PASSWORD.sub("", text)) if "://" in text else text


def bare(url: str) -> str:
    """A URL without what follows its path."""
    return re.split(r"[?#]", url, maxsplit=1)[0] if url.startswith(("http://", "https://")) else url
