"""The page: both models beside each other, as a small Gradio app of this machine alone.

Nothing is loaded from elsewhere and nothing is sent anywhere: no telemetry, no fonts, no share
link; a policy in the page's headers keeps browsers to that.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from det_files.chatting.conversation import Turn
from det_files.chatting.page_chat import PageChat
from det_files.chatting.screen import TITLES
from det_files.chatting.talker import Talker
from det_files.faults import ConfigError, Fault, Faults
from det_files.local.process_group import free_ports
from det_files.trained.model import MODELS

REQUIREMENT = "gradio==6.31.0"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TITLE = "Base and fine-tuned"
# Scripts and styles stand in Gradio's pages themselves.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'self'; form-action 'self'"
)
BETWEEN_UPDATES_S = 0.1
FONTS = ["system-ui", "sans-serif"]
MONOSPACE = ["ui-monospace", "monospace"]
# A pane's own button would empty what is shown alone, and not the conversation.
CSS = """
footer, .icon-button-wrapper:has(button[aria-label="Clear"]) {display: none !important}
.gradio-container {max-width: 1500px !important}
"""


def import_gradio() -> Any:
    """Gradio, with its telemetry off.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    try:
        import gradio
    except ImportError as error:
        reason = f"the page needs a package that is missing: pip install {REQUIREMENT}"
        raise ConfigError(Fault("--web", reason)) from error
    return gradio


def find_page_faults(host: str, port: int, faults: Faults) -> None:
    """Notes why a page cannot be served at an address."""
    try:
        import_gradio()
    except ConfigError as error:
        faults.extend(error)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        faults.add("--port", f"{host}:{port} cannot be had: {reason}; --port 0 takes a free one")


def serve(talker: Talker, system: str | None, host: str, port: int, about: str) -> int:
    """Serves the page until Ctrl-C; returns the exit code.

    Args:
        system: the system prompt that the page begins with.
        port: 0 for any free one.
        about: what is chatted with, for the page's head.

    Raises:
        ConfigError: Gradio is missing.
    """
    gradio = import_gradio()
    from starlette.middleware import Middleware

    page = build_page(gradio, talker, system or "", about)
    _, url, _ = page.launch(
        server_name=f"[{host}]" if ":" in host else host,  # it makes a URL of it
        server_port=port or free_ports(1)[0],
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        enable_monitoring=False,
        app_kwargs={"middleware": [Middleware(KeptHere)]},
        theme=gradio.themes.Default(font=FONTS, font_mono=MONOSPACE),
        css=CSS,
    )
    if host not in LOOPBACK:
        print(f"{host} may be reached from other machines, and asks nobody for a password")
    print(f"chat on {url} (Ctrl-C ends)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        page.close(verbose=False)
    return 0


class KeptHere:
    """Middleware that gives each answer of the server the policy."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        await self._app(scope, receive, send_with_policy)


def build_page(gradio: Any, talker: Talker, system: str, about: str) -> Any:
    """The page's parts, and what they do."""
    with gradio.Blocks(title=TITLE, analytics_enabled=False, fill_height=True) as page:
        chat = gradio.State(PageChat())  # a copy for each visitor
        gradio.Markdown(f"**{TITLE}**  {about}")
        prompt = gradio.Textbox(
            system,
            label="System prompt",
            placeholder="none",
            elem_id="system",
            max_lines=3,
            interactive=talker.keeps_history,
        )
        with gradio.Row(scale=1):
            panes = [_pane(gradio, which) for which in MODELS]
        note = gradio.Markdown(elem_id="note")
        with gradio.Row():
            question = _question(gradio)
            send = gradio.Button("Send", variant="primary", elem_id="send", min_width=90)
            stop = gradio.Button("Stop", variant="stop", elem_id="stop", min_width=90)
            clear = gradio.Button("Clear", elem_id="clear", min_width=90)
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [*panes, note]
        gradio.on(
            [send.click, question.submit],
            partial(_answer, talker, gradio.skip()),
            [chat, question, prompt],
            [*shown, question],
            **quiet,
        )
        # Not queued: they must not wait for the answer that they end.
        stop.click(lambda chat: chat.stop(), [chat], None, queue=False, **quiet)
        clear.click(_clear, [chat], shown, queue=False, **quiet)
    return page


def _question(gradio: Any) -> Any:
    return gradio.Textbox(
        show_label=False,
        placeholder="A message to both models",
        elem_id="question",
        autofocus=True,
        scale=8,
        container=False,
    )


def _pane(gradio: Any, which: str) -> Any:
    return gradio.Chatbot(
        label=TITLES[which],
        elem_id=which,
        scale=1,
        height="calc(100vh - 270px)",
        render_markdown=False,  # what the model wrote, and not what it looks like
        buttons=["copy"],
        group_consecutive_messages=False,
    )


def _answer(
    talker: Talker, unchanged: Any, chat: PageChat, text: str, system: str
) -> Iterator[tuple[Any, ...]]:
    """Yields the panes, the note and the input, while a message is answered.

    The input is emptied once: what is typed meanwhile stays, as `unchanged` says to Gradio.
    """
    if not text.strip():
        yield *_panes(chat), chat.note, unchanged
        return
    typed, shown_at = "", 0.0
    for _ in chat.ask(talker, text.strip(), system):
        # A small model gives pieces faster than a browser shows them.
        if time.monotonic() - shown_at >= BETWEEN_UPDATES_S:
            yield *_panes(chat), chat.note, typed
            typed, shown_at = unchanged, time.monotonic()
    yield *_panes(chat), chat.note, typed


def _panes(chat: PageChat) -> list[list[Turn]]:
    panes = chat.panes()
    return [panes[which] for which in MODELS]


def _clear(chat: PageChat) -> tuple[Any, ...]:
    chat.clear()
    return *_panes(chat), ""
