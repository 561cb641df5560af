"""Every command of README and docs: it runs here and succeeds, or the table of `elsewhere` says why it can't."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest

from tests.documents import elsewhere
from tests.documents.reading import Block, all_blocks
from tests.documents.sandbox import Ports, Sandbox, new_ports
from tests.e2e.harness import Gateway, running

BLOCKS: Final = all_blocks("sh")
# The secret that the documents' demo is started with.
SECRET: Final = "only-for-trying-things-never-for-more"
SERVER: Final = re.compile(r"aiogateway (?:serve|demo)[^&|;\n]*\n\Z")

ELSEWHERE: Final = [block for block in BLOCKS if elsewhere.reason(block)]
SERVERS: Final = [block for block in BLOCKS if block not in ELSEWHERE and SERVER.search(block.text)]
PAGES: Final = {
    page: list(several)
    for page, several in groupby(
        (block for block in BLOCKS if block not in ELSEWHERE and block not in SERVERS), lambda block: block.page
    )
}


@pytest.fixture(scope="module")
def demo() -> Iterator[Gateway]:
    """The gateway that the pages' curl lines speak to."""
    with running(None, "demo", JWT_SECRET=SECRET, GATEWAY_AUTH_MODE="", GATEWAY_RATE_LIMIT="") as gateway:
        yield gateway


def brings_its_own(blocks: list[Block]) -> bool:
    """Whether a page starts the gateway that it speaks to."""
    return any("aiogateway serve" in block.text for block in blocks)


@pytest.fixture(scope="module")
def runs(demo: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """What becomes of each page's commands and of each block that starts a server; two run at a time."""

    def page(blocks: list[Block]) -> None:
        ports = new_ports() if brings_its_own(blocks) else Ports(demo.port, demo.admin_port)
        Sandbox(tmp_path_factory.mktemp("page")).run(blocks, ports)

    def server(block: Block) -> None:
        Sandbox(tmp_path_factory.mktemp("server")).serve(block, new_ports())

    with ThreadPoolExecutor(2) as threads:
        servers = {str(block): threads.submit(server, block) for block in SERVERS}
        yield servers | {name: threads.submit(page, blocks) for name, blocks in PAGES.items()}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_one_after_the_other(page: str, runs: dict[str, Future[None]]) -> None:
    runs[page].result()


@pytest.mark.parametrize("block", SERVERS, ids=str)
def test_what_starts_a_server_starts_one(block: Block, runs: dict[str, Future[None]]) -> None:
    runs[str(block)].result()


def test_the_demo_is_the_first_that_a_newcomer_reads() -> None:
    first, second = [block for block in BLOCKS if block.page == "README.md"][:2]
    assert first in SERVERS and first.text.endswith("aiogateway demo\n") and second.text == "scripts/test\n"


@pytest.mark.parametrize("block", ELSEWHERE, ids=str)
def test_what_cannot_run_here_names_only_what_there_is(block: Block) -> None:
    assert elsewhere.faults(block) == []


def test_every_fence_says_what_is_in_it() -> None:
    known = {"sh", "toml", "json", "yaml", "python", "text", "js", "nginx", "ini", "dockerfile"}
    languages = {str(block): block.language for block in all_blocks("", "bash", "shell", "console", *known)}
    assert {place: language for place, language in languages.items() if language not in known} == {}


@pytest.mark.parametrize(
    "text",
    [
        "aiogateway chek\n",
        "aiogateway explain GET /v2/none\n",
        "false\ntrue\n",
        "curl -sf http://127.0.0.1:9000/nothing | cat\n",
        "pip install -r requirement.txt .\n",
        "echo $UNSET\n",
    ],
)
def test_a_planted_command_that_fails_is_caught(text: str, demo: Gateway, tmp_path: Path) -> None:
    planted = [Block("planted.md", 1, "sh", "true\n"), Block("planted.md", 5, "sh", text)]
    with pytest.raises(AssertionError, match=r"failed: planted\.md:5"):
        Sandbox(tmp_path).run(planted, Ports(demo.port, demo.admin_port))


def test_a_planted_server_that_does_not_start_is_caught(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="never ready"):
        Sandbox(tmp_path).serve(Block("planted.md", 1, "sh", "aiogateway serve --port none\n"), new_ports())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("docker build -f deploy/docker/Dokerfile .\n", "there is no deploy/docker/Dokerfile"),
        ("docker run image aiogateway serv\n", "aiogateway has no command serv"),
        ("docker run image aiogateway serve --prot 1\n", "aiogateway serve has no option --prot"),
        ("python -m benchmarks.strems\n", "there is no module benchmarks.strems"),
        ("if docker ps; then\n", "syntax error"),
    ],
)
def test_a_planted_fault_in_what_cannot_run_is_caught(text: str, fault: str) -> None:
    block = Block("planted.md", 1, "sh", text)
    assert elsewhere.reason(block) is not None
    assert any(fault in found for found in elsewhere.faults(block))
