"""No secret, no loose version and no open door in any file of cluster/."""

import re
from importlib.metadata import version

import pytest
import yaml

from tests.unit.cluster_files.files import FOLDER, LAUNCHERS, MANIFESTS, every_value, read

TEXTS = {
    str(path.relative_to(FOLDER)): path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.rglob("*"))
    if path.is_file()
}
YAML = [name for name in TEXTS if name.endswith(".yaml")]

SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|eyJ[\w-]{10,}\.|://[^/\s:@]+:[^@\s/]+@|\b[0-9a-f]{32,}\b|[A-Za-z0-9+/]{40,}={0,2}"
)
"""Access keys, private keys, tokens, passwords in URLs, and long runs of what could be one."""
SECRET_NAMES = re.compile(r"(token|password|passwd|secret|access_key\w*|stringData)$", flags=re.IGNORECASE)
MAY_BE_SAID = {"~/.ray/auth_token"}
"""A path."""


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_contains_a_secret(name: str) -> None:
    assert SECRETS.findall(TEXTS[name]) == []


def test_secrets_are_recognised() -> None:
    for text in ("AKIA" + "A" * 16, "postgresql://raymu:word@host/raymu", "f" * 32, "A1b2" * 10):
        assert SECRETS.search(text)


@pytest.mark.parametrize("name", YAML)
def test_no_key_that_is_named_like_a_secret_has_a_value(name: str) -> None:
    named = [key for key, value in every_value(read(name)) if isinstance(value, str)]
    assert [key for key in named if SECRET_NAMES.search(key) and key not in MAY_BE_SAID] == []


@pytest.mark.parametrize("name", [*YAML, "Containerfile"])
def test_no_port_is_open_to_everyone(name: str) -> None:
    settings = "\n".join(line for line in TEXTS[name].splitlines() if not line.lstrip().startswith("#"))
    for open_door in ("0.0.0.0", "LoadBalancer", "NodePort", "hostPort", "hostNetwork", "kind: Ingress", "EXPOSE"):
        assert open_door not in settings


@pytest.mark.parametrize("name", [*LAUNCHERS, *MANIFESTS])
def test_every_image_is_of_raymu_s_own_version(name: str) -> None:
    images = [str(value) for key, value in every_value(read(name)) if key == "image"]
    assert images
    assert {image.rpartition(":")[2] for image in images} == {version("raymu")}


@pytest.mark.parametrize("name", [*YAML, "Containerfile"])
def test_a_token_is_never_switched_off(name: str) -> None:
    modes = re.findall(r"RAY_AUTH_MODE[=:]\s*\"?(\w+)", TEXTS[name])
    assert set(modes) <= {"token"}
    assert "mode: disabled" not in TEXTS[name]


def test_every_file_has_a_line_in_the_readme() -> None:
    rows = [line for line in TEXTS["README.md"].splitlines() if line.startswith("| [")]
    listed = {name for line in rows for name in re.findall(r"\]\(([\w./-]+)\)", line)}
    assert listed == set(TEXTS) - {"README.md", "Containerfile.dockerignore"}


def test_the_readme_names_every_value_to_change() -> None:
    placeholders = {word for name in LAUNCHERS for word in re.findall(r"[\w.-]*CHANGE[\w.-]*", yaml.dump(read(name)))}
    assert placeholders
    assert [word for word in sorted(placeholders) if f"`{word}`" not in TEXTS["README.md"]] == []
