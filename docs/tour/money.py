"""A tour of keys, budgets and the ledger: spend a cent, read the report, revoke a key, kill, read again.

    python docs/tour/money.py        # needs headgate with its starter model, and `pip install openai`

It starts a gate of its own, on a free port and in a folder that is gone afterwards.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import openai

MASTER_KEY = "sk-tour-of-the-money-0123456789"
CENT = 10_000_000
"""In nano-dollars."""


class Gate:
    """A gate of the tour's own."""

    def __init__(self, folder: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "headgate", "serve", "--port", str(self.port), "--data", self.folder]
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"HEADGATE_MASTER_KEY": MASTER_KEY},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/readyz", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, "the gate did not start"
                time.sleep(0.1)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def admin(self, method: str, path: str, body: object = None) -> dict:
        """One request to the operator's API."""
        request = urllib.request.Request(
            f"{self.url}/admin/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {MASTER_KEY}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read() or b"{}")

    def client(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def spent(self, team: str) -> tuple[int, int, int]:
        """Attempts, those that are unknown, and what the team paid in nano-dollars, from the report."""
        rows = self.admin("GET", f"/usage?by=team&team={team}")["rows"]
        sums = rows[0]["sums"] if rows else {"attempts": 0, "unknown": 0, "price_nanodollars": 0}
        return sums["attempts"], sums["unknown"], sums["price_nanodollars"]

    def settled(self, team: str, attempts: int) -> tuple[int, int, int]:
        """The report, once the ledger has that many attempts."""
        while (found := self.spent(team))[0] < attempts:
            time.sleep(0.1)
        return found


def main(gate: Gate) -> None:
    print("== A price, a team, two keys, and a budget of one cent a day")
    gate.admin("POST", "/prices", {"model": "starter-chat", "price": {"input": "10", "output": "100"}})
    team = gate.admin("POST", "/teams", {"name": "tour"})["id"]
    ada, bob = (gate.admin("POST", "/keys", {"name": name, "team_id": team}) for name in ("ada", "bob"))
    gate.admin("PUT", f"/budgets/team:{team}", {"amount_nanodollars": CENT, "period": "day"})
    print(f"team {team}, keys {ada['key']['shown']} and {bob['key']['shown']}")

    print("== Spend it, until there is no quota")
    client = gate.client(ada["secret"])
    asked, said = 0, None
    while said is None:
        try:
            client.chat.completions.create(
                model="starter-chat",
                messages=[{"role": "user", "content": "What is the capital of France?"}],
                max_tokens=20,
            )
        except openai.RateLimitError as refused:
            said = refused.code
        else:
            asked += 1
    print(f"{asked} answers, then: {said}")
    assert (asked > 0, said) == (True, "insufficient_quota")

    print("== Read the report: to the token, and within the budget")
    attempts, unknown, price = gate.settled(team, asked)
    assert (attempts, unknown) == (asked, 0)
    assert 0 < price <= CENT
    print(f"{attempts} attempts, {price} nano-dollars of {CENT}")

    print("== Revoke a key while its stream runs")
    gate.admin("DELETE", f"/budgets/team:{team}/day")
    stream = gate.client(bob["secret"]).chat.completions.create(
        model="starter-chat", messages=[{"role": "user", "content": "Hello!"}], stream=True
    )
    words = [next(iter(stream)).choices[0].delta.content or ""]
    gate.admin("DELETE", f"/keys/{bob['key']['id']}")
    words += [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    print(f"what had begun came to its end: {''.join(words)!r}")
    try:
        gate.client(bob["secret"]).models.list()
    except openai.AuthenticationError as refused:
        print(f"what came after did not: {refused.code}")
    else:
        raise AssertionError("a revoked key still opens")
    asked += 1
    before = gate.settled(team, asked)

    print("== Kill the gate without warning, and read the report again")
    gate.kill()
    gate.start()
    after = gate.spent(team)
    print(f"before {before}, after {after}")
    assert after == before


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tour = Gate(folder)
        try:
            main(tour)
        finally:
            tour.kill()
