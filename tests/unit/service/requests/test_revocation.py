"""Arguments that no request can have."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from raymu.errors import RequestInvalid
from raymu.service.requests.revocation import Revocation


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": ""}, "a key of 0 letters"),
        ({"key": "k" * 201}, "a key of 201 letters"),
        ({"key": "\udcff"}, r"'\\udcff' is not UTF-8 text"),
        ({"owner": "\udcff"}, "is not UTF-8 text"),
        ({"ids": ("\udcff",)}, "is not UTF-8 text"),
        ({"due": datetime(2030, 1, 1)}, "names no time zone"),
        ({"due": "2030-01-01"}, "due '2030-01-01' is not a time; give a datetime with a time zone"),
        ({"due": float("inf")}, "due inf is not a time"),
        ({"due": datetime.max.replace(tzinfo=timezone(timedelta(hours=-9)))}, "is beyond the years"),
        ({"due": datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))}, "is beyond the years"),
    ],
)
def test_invalid_fields_of_a_request_are_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestInvalid, match=message):
        Revocation(**fields)
