"""Where runs and data lie: paths and URIs, and what of them may be told."""

import re

_OPTIONS = re.compile(r"[?#].*", re.DOTALL)
_LOGIN = re.compile(r"(?<=s3://)[^/?#]*:[^?#]*@|(?<=://)[^/?#]*:[^/?#]*@")
"""A secret key of S3 may have a slash in it: it is a mistake there, and a secret all the same."""
_SECRET_OPTION = re.compile(r"[?&][^=&]*(secret|password|token|key)[^=&]*=", re.IGNORECASE)


def is_uri(location: str) -> bool:
    return "://" in location


def redacted(location: str) -> str:
    """A location as errors and pages name it: of a URI neither a login nor options, so that a path can follow it."""
    return _LOGIN.sub("", _OPTIONS.sub("", location)) if is_uri(location) else location


def basename(location: str) -> str:
    """The last part of a path or a URI; empty where it has none, as of a bucket's root."""
    return redacted(location).rstrip("/").rpartition("/")[2]


def has_credentials(location: str) -> bool:
    """Whether a URI has a password or a secret key in it: wherever it is kept or passed on, that would go along."""
    return is_uri(location) and bool(_LOGIN.search(location) or _SECRET_OPTION.search(location))


LEAVE_SECRETS_OUT = (
    "has a secret in its URI, which would be kept and shown with it; leave it out, and set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or whatever else its storage looks for credentials in"
)
"""What is wrong with such a location, and what to do."""
