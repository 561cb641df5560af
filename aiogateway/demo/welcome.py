"""What `aiogateway demo` prints once it listens: addresses, and shell commands that work as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote

from aiogateway.settings import Settings

EMAIL = "demo@example.com"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a person on this machine reaches the gateway: base URLs without a path; and the sample page's URL."""

    public: str
    admin: str
    page: str


def addresses_of(settings: Settings, page: str) -> Addresses:
    """The addresses of both listeners, and of the sample page."""
    scheme = "https" if settings.tls_cert else "http"
    public = base_url(scheme, settings.host, settings.port)
    return Addresses(public, base_url("http", settings.admin_host, settings.admin_port), page)


def base_url(scheme: str, host: str, port: int) -> str:
    """A URL that leads to a listener bound to `host`: one bound to every address is reached by the loopback one."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"{scheme}://{host}:{port}"
    if address.is_unspecified:
        address = ip_address("::1" if address.version == 6 else "127.0.0.1")
    return f"{scheme}://[{address}]:{port}" if address.version == 6 else f"{scheme}://{address}:{port}"


def lines(public: str, user_id: str, token: str) -> list[tuple[str, str]]:
    """What to try: a caption and a shell command each.

    :param public: the gateway's base URL.
    :param token: a token for `user_id`; who passes it on passes that user's rights on.
    """
    # -g: the brackets of an IPv6 address are no pattern. -k: a certificate for trying things is nobody's. -w: the
    # shell's prompt comes on a line of its own
    curl = f"curl -gs{'k' if public.startswith('https:') else ''}w '\\n'"
    signed = f"{curl} -H 'Authorization: Bearer {token}'"
    live = f"{public}/v2/get-response-3dchatbot-v7-live?question={quote('What does it cost?')}"
    return [
        ("Log in; the password “wrong” fails", f"{curl} {public}/v2/login -d email={EMAIL} -d password=anything"),
        (
            "Upload a PDF and see its SHA-256",
            f"printf '%%PDF-1.4 demo' | {signed} {public}/v2/fetch-pdf -F user_id={user_id} -F project_id=p1 "
            "-F 'files=@-;filename=a.pdf;type=application/pdf'",
        ),
        ("Start a crawl and poll it until it is done", _crawl(signed, public, user_id)),
        ("Watch a chat answer arrive", f"{curl} -N '{live}' | cut -c-100"),
        (
            "Watch a model's tokens arrive",
            f"{signed} -N {public}/v2/call-model/gpt-4o-mini -H 'Content-Type: application/json' "
            """-d '{"prompt": "Hello"}'""",
        ),
        ("Without a token", f"{curl} -i {public}/v2/get-chatbots/{user_id}"),
        ("For another user", f"{signed} -i {public}/v2/get-chatbots/somebody-else"),
        (
            "Too often: of six tries to sign up, five get through",
            f"for i in 1 2 3 4 5 6; do {curl} -o /dev/null -w '%{{http_code}} ' "
            f"{public}/v2/signup -d email=$i@example.com; done",
        ),
        (
            "What a page of another origin asks before it calls",
            f"{curl} -i -X OPTIONS {public}/v2/login -H 'Origin: https://machineagents.ai' "
            "-H 'Access-Control-Request-Method: POST'",
        ),
        ("A slow answer", f"{curl} '{public}/v2/homepage-slow?seconds=3'"),
        ("A failing service", f"{curl} -i '{public}/v2/homepage-fail?status=503'"),
        ("HTML where JSON was due", f"{curl} -i '{public}/v2/homepage-html-error?status=404'"),
        ("An answer that is cut off", f'{curl} {public}/v2/homepage-cut -o /dev/null; echo "curl exits with $?"'),
    ]


def _crawl(signed: str, public: str, user_id: str) -> str:
    start = f"{signed} {public}/v2/extract-contents -d user_id={user_id} -d project_id=p1 -d domain=example.com"
    task = r"""sed 's/.*"task_id": *"\([^"]*\)".*/\1/'"""
    poll = f'{signed} "{public}/v2/check-task-status?task_id=$task"; sleep 1'
    return f"task=$({start} | {task}); for i in 1 2 3 4; do {poll}; done"


def welcome_text(addresses: Addresses, user_id: str, token: str, aside: Sequence[str]) -> str:
    """All of the welcome.

    :param aside: names of the variables that the demo doesn't follow.
    """
    head = [
        f"Open {addresses.page} in a browser: a page that uses the gateway",
        f"The gateway listens on {addresses.public}",
        f"Its dashboard is at {addresses.admin}/",
    ]
    if aside:
        head.append(f"Set aside for the demo: {', '.join(aside)}")
    tries = [f"# {caption}\n{command}" for caption, command in lines(addresses.public, user_id, token)]
    return "\n\n".join(["\n".join(head), *tries, "Ctrl-C ends it."]) + "\n"
