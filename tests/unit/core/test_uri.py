import pytest

from raymu.core.uri import basename, has_credentials, redacted

SECRETS = [
    "s3://KEY:secret@bucket/run",
    "s3://KEY:sec/ret+@bucket/run?region=x",
    "s3://KEY:@bucket",
    "abfs://:secret@account.dfs.core.windows.net/run",
    "abfs://account.dfs.core.windows.net/run?client_secret=secret",
    "s3://bucket/run?region=x&session_token=secret",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_secret_in_a_uri_is_detected_and_never_shown(uri: str) -> None:
    assert has_credentials(uri)
    assert "secret" not in redacted(uri)
    assert "KEY" not in redacted(uri)


@pytest.mark.parametrize(
    ("place", "as_shown", "name"),
    [
        ("runs/letter", "runs/letter", "letter"),
        ("/data/50% off? #1:a@b", "/data/50% off? #1:a@b", "50% off? #1:a@b"),
        ("file:///data/a:b@c", "file:///data/a:b@c", "a:b@c"),
        ("s3://bucket/run?scheme=http&endpoint_override=127.0.0.1:9000", "s3://bucket/run", "run"),
        ("s3://bucket/12:30@home/run/", "s3://bucket/12:30@home/run/", "run"),
        ("s3://bucket", "s3://bucket", "bucket"),
        ("hdfs://user@host:9000/a@b", "hdfs://user@host:9000/a@b", "a@b"),
        (
            "abfs://container@account.dfs.core.windows.net/run",
            "abfs://container@account.dfs.core.windows.net/run",
            "run",
        ),
    ],
)
def test_a_location_without_secrets_is_shown_without_its_options(place: str, as_shown: str, name: str) -> None:
    assert not has_credentials(place)
    assert (redacted(place), basename(place)) == (as_shown, name)
