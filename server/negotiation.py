"""What a caller prefers: the headers Accept (RFC 9110) and Prefer (RFC 7240), and names for downloads."""

import re
from collections.abc import Sequence
from urllib.parse import quote

WAIT_MAX_S = 60
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,6})\"?", re.IGNORECASE)


def preferred(accept: str, offers: Sequence[str]) -> str:
    """The media type of `offers` that an Accept header likes best; the first one when it likes none or several alike.

    A type that is named goes before one that only a wildcard covers.
    """
    ranges = [_media_range(part) for part in accept.split(",")]

    def liking(offer: str) -> tuple[float, int]:
        covering = {offer: 2, offer.partition("/")[0] + "/*": 1, "*/*": 0}
        ranked = [(covering[name], quality) for name, quality in ranges if name in covering]
        if not ranked:
            return 0.0, 0
        specificity, quality = max(ranked)
        return quality, specificity

    return max(offers, key=liking)


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if re.fullmatch(r"q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)", parameter):
            return name, float(parameter[2:])
    return name, 1.0


def wait_seconds(prefer: str) -> int | None:
    """N of `Prefer: wait=N`, at most WAIT_MAX_S; None for anything else, as RFC 7240 has wrong preferences ignored."""
    for part in prefer.split(","):
        match = _WAIT.fullmatch(part.split(";")[0].strip())
        if match and int(match[1]) > 0:
            return min(int(match[1]), WAIT_MAX_S)
    return None


def attachment(title: str, suffix: str) -> str:
    """Content-Disposition of a download, named after a picture's prompt."""
    name = re.sub(r"[\W_]+", "-", title)[:60].strip("-").lower() or "nuwa"
    plain = re.sub(r"-+", "-", name.encode("ascii", "ignore").decode()).strip("-") or "nuwa"
    header = f'attachment; filename="{plain}.{suffix}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}.{suffix}"
