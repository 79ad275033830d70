"""The playground shows what a policy enforces on whoever uses it."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Browser, expect

from launcher.stack import Stack
from tests.e2e.playground.page import Playground
from tests.e2e.protection.guarded_gateway import gateway_url, new_key

POLICY = {
    "default": {"user": None, "admin": None},
    "traits": {},
    "enforced": {
        "user": {
            "operations": [{"trait": "sarcasm", "kind": "cap", "value": 1, "unit": "percentile"}],
            "limits": [{"trait": "sarcasm", "below": -1000, "over": 2, "action": "report"}],
        },
        "admin": None,
    },
}


def test_each_answer_says_what_is_enforced(browser: Browser, stack: Stack, tmp_path: Path) -> None:
    key, entry = new_key("alice", "user")
    (tmp_path / "keys.json").write_text(json.dumps([entry]))
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    variables = {
        "API_KEYS_FILE": str(tmp_path / "keys.json"),
        "POLICY_FILE": str(tmp_path / "policy.json"),
    }
    with (
        gateway_url(stack, tmp_path, **variables) as url,
        browser.new_context(reduced_motion="reduce") as context,
    ):
        context.add_init_script(f"sessionStorage.setItem('api-key', {json.dumps(key)})")
        playground = Playground(context.new_page(), url)
        playground.open()
        playground.ask()
        playground.run()
        for label in ("baseline", "sarcasm +2"):
            expect(playground.card(label).locator(".facts")).to_contain_text(
                "enforced: cap sarcasm p1, report at sarcasm below -1000 for 2 tokens"
            )
