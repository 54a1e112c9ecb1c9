"""The page of the real command, in a headless browser."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatting.models_to_chat_with import make_checkpoint, never_end
from conftest import ROOT, rank_environment

pytest.importorskip("gradio", reason="the page needs gradio")
sync_api = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
TIMEOUT_MS = 180_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to see pages with")


def serve(checkpoint: Path, *flags: str) -> subprocess.Popen[str]:
    """Starts the command on a free port; its first line says where."""
    command = [sys.executable, "-m", "det_files.chat", str(checkpoint), "--web", "--port", "0"]
    return subprocess.Popen(
        [*command, *flags],
        cwd=ROOT,
        env=rank_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a page about a model is served whose answers end very late."""
    checkpoint = make_checkpoint(tmp_path_factory.mktemp("page"), max_position_embeddings=2**16)
    for name in ("base", "tuned"):
        never_end(checkpoint.parent / name)
    server = serve(checkpoint, "--max-new-tokens", "60000", "--system", "be kind")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        yield found[0]
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0  # Ctrl-C ends it
    finally:
        server.kill()
        server.wait()


class Browser:
    """An empty profile with the page in it, and all that the page asked for."""

    def __init__(self, playwright: Any, profile: Path, address: str) -> None:
        self.context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1280, "height": 800},
        )
        self.page = self.context.pages[0]
        self.page.set_default_timeout(TIMEOUT_MS)
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.policy = self.page.goto(address).headers["content-security-policy"]

    def say(self, text: str) -> None:
        self.page.fill("#question textarea", text)
        self.page.keyboard.press("Enter")

    def turns(self, which: str) -> list[str]:
        """The texts of a pane, from the first on."""
        return list(self.page.locator(f"#{which} .message").all_inner_texts())

    def wait_for(self, which: str, condition: str) -> None:
        """Waits until `condition` holds of `last`, the text of a pane's last turn."""
        self.page.wait_for_function(
            f"""() => {{
                const turns = [...document.querySelectorAll('#{which} .message')];
                const last = turns.length ? turns.at(-1).innerText : '';
                return {condition};
            }}"""
        )


@pytest.fixture
def browser(address: str, tmp_path: Path) -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        opened = Browser(playwright, tmp_path / "profile", address)
        yield opened
        opened.context.close()


def test_both_panes_answer_until_they_are_stopped(browser: Browser, address: str) -> None:
    assert browser.page.input_value("#system textarea") == "be kind"
    browser.say("the cat")
    for which in ("base", "tuned"):
        browser.wait_for(which, "turns.length === 2 && last.length > 40")
    assert browser.page.input_value("#question textarea") == ""
    grown = browser.turns("tuned")[1]
    browser.wait_for("tuned", f"last.length > {len(grown) + 20}")  # it streams
    browser.say("typed meanwhile")
    browser.wait_for("tuned", f"last.length > {len(browser.turns('tuned')[1])}")
    browser.page.click("#stop")
    for which in ("base", "tuned"):
        browser.wait_for(which, "last.endsWith('(stopped)')")
    assert [browser.turns(which)[0] for which in ("base", "tuned")] == ["the cat"] * 2
    assert browser.turns("base")[1] != browser.turns("tuned")[1]
    assert browser.page.input_value("#question textarea") == "typed meanwhile"
    # The next message goes on from there.
    browser.say("and the dog?")
    browser.wait_for("base", "turns.length === 4 && last.length > 20")
    other = browser.context.new_page()
    other.goto(address)
    other.wait_for_selector("#question textarea")
    assert other.locator("#base .message").count() == 0  # another visitor's chat is another
    other.close()
    browser.page.click("#clear")
    for which in ("base", "tuned"):
        browser.wait_for(which, "turns.length === 0")
    assert not browser.errors


def test_nothing_is_asked_of_anyone_else(browser: Browser, address: str) -> None:
    browser.say("the cat")
    browser.wait_for("base", "last.length > 20")
    browser.page.click("#stop")
    browser.wait_for("base", "last.endsWith('(stopped)')")
    assert browser.policy.startswith("default-src 'self'")
    elsewhere = [u for u in browser.asked if not u.startswith((address, "data:", "blob:"))]
    assert browser.asked and not elsewhere
    assert "http" not in browser.page.evaluate(
        "() => [...document.querySelectorAll('link[href], script[src]')]"
        ".map(e => e.href || e.src).filter(u => !u.startsWith(location.origin)).join(' ')"
    )


def test_an_address_of_ipv6(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    flags = ["--host", "::1", "--max-new-tokens", "8"]
    with serve(make_checkpoint(tmp_path), *flags) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            found = re.search(r"http://\[::1\]:\d+/", line)
            assert found, line
            with urllib.request.urlopen(found[0], timeout=60) as page:
                assert page.status == 200
        finally:
            server.kill()
