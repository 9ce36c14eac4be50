"""What an operator reads when the gate is open: where it is, its key when it is new, a request to paste."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.app import Announcement
    from headgate.core.settings import Settings

SAMPLE_MODEL = "gpt-3.5-turbo"
"""The model in the reference page's sample."""


def greeting(settings: Settings, announcement: Announcement) -> str:
    """What an operator reads when the gate is open: address, key if it is new, and a request to paste."""
    server = settings.server
    # Who listens on every address is reached on this machine's own.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    host = f"[{host}]" if ":" in host else host
    url = f"{'https' if server.tls_cert_file else 'http'}://{host}:{announcement.port}"
    lines = [f"Headgate is open at {url}", ""]
    if announcement.new_master_key:
        lines += ["The operator's key, shown this once and kept only as a hash:", ""]
        lines += [f"    {announcement.new_master_key}", ""]
    with_key = "" if announcement.new_master_key else ", with the operator's key in HEADGATE_KEY"
    lines += [f"Try it{with_key}:", "", sample(settings, url, announcement.new_master_key), ""]
    return "\n".join(lines)


def sample(settings: Settings, url: str, key: str | None) -> str:
    """The reference page's own request, ready to paste; without a key the shell fills in $HEADGATE_KEY."""
    served = [name for name in (*settings.models(), *settings.aliases) if "*" not in name]
    model = SAMPLE_MODEL if SAMPLE_MODEL in served or not served else served[0]
    body = {
        "model": model,
        "stream": True,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello!"},
        ],
    }
    text = json.dumps(body, indent=4, ensure_ascii=False).replace("'", "'\\''")
    # The shell looks into double quotes, not into single ones.
    authorization = f"'Authorization: Bearer {key}'" if key else '"Authorization: Bearer $HEADGATE_KEY"'
    return (
        f"curl --location --request POST '{url}/v1/chat/completions' \\\n"
        "--header 'Accept: application/json' \\\n"
        f"--header {authorization} \\\n"
        "--header 'Content-Type: application/json' \\\n"
        f"--data-raw '{text}'"
    )
