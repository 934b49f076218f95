"""Paths and URIs of runs and data, without their secrets."""

import re

_OPTIONS = re.compile(r"[?#].*", re.DOTALL)
_LOGIN = re.compile(r"(?<=s3://)[^/?#]*:[^?#]*@|(?<=://)[^/?#]*:[^/?#]*@")
"""A secret key of S3 may contain a slash, which is invalid in a URI but still a secret."""
_SECRET_OPTION = re.compile(r"[?&][^=&]*(secret|password|token|key)[^=&]*=", re.IGNORECASE)


def is_uri(location: str) -> bool:
    return "://" in location


def redacted(location: str) -> str:
    """Return a location as errors and pages show it: a URI without login and options, so that a path can be appended."""
    if "\n" in location:
        first, *others = locations_of(location) or [""]
        return redacted(first) + (f" and {len(others)} more" if others else "")
    return _LOGIN.sub("", _OPTIONS.sub("", location)) if is_uri(location) else location


def basename(location: str) -> str:
    """Return the last part of a path or a URI; empty for the root of a bucket."""
    return redacted(location).rstrip("/").rpartition("/")[2]


def locations_of(location: str) -> list[str]:
    """Return each path and URI of a setting that names one, or several with one a line."""
    return [line.strip() for line in location.split("\n") if line.strip()]


def has_credentials(location: str) -> bool:
    """Whether a URI contains a password or a secret key, which would be stored and passed on with it."""
    if "\n" in location:
        return any(has_credentials(part) for part in locations_of(location))
    return is_uri(location) and bool(_LOGIN.search(location) or _SECRET_OPTION.search(location))


LEAVE_SECRETS_OUT = (
    "has a secret in its URI, which would be kept and shown with it; leave it out, and set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or whatever else its storage looks for credentials in"
)
"""The part of an error message that explains the problem with such a location, and the remedy."""
