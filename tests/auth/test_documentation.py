"""What ``docs/security.md`` shows is what the policy file takes."""

import re
from pathlib import Path

from ferro_oci_server.auth.policy_file import parse

TEXT = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_policy_that_is_shown_is_one() -> None:
    first, *others = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert len(parse(first.encode()).policy.rules) == 3
    issuers = first[first.index("[issuers") : first.index("[[rules]]")]
    assert len(others) == 3
    for text in others:
        assert len(parse((issuers + text).encode()).policy.rules) == 1
