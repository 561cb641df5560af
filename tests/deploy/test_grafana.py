"""The Grafana dashboard holds together."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Final

DASHBOARD: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "dashboard.json").read_text()
)
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]


def test_panels_have_ids_of_their_own_and_say_what_they_show() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"] and panel["targets"]
            assert panel["datasource"]["uid"] == "${datasource}"


def test_no_panel_lies_over_another() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        return set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))

    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        assert taken.isdisjoint(cells(panel)), panel["title"]
        taken |= cells(panel)


def test_every_variable_that_is_used_exists() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "job", "instance", "upstream", "route"}
