"""Workers tell each other about themselves through files that are replaced as a whole."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from aiogateway.board import PREFIX, Board, shared_folder


def test_a_worker_sees_the_others_reports_and_its_predecessors(tmp_path: Path) -> None:
    folder = str(tmp_path)
    first, second = Board(folder, 0), Board(folder, 1)
    assert first.last() is None and first.others() == []
    first.publish({"a": 1})
    second.publish({"a": 2})
    first.publish({"a": 3})
    assert second.others() == [{"a": 3}] and first.others() == [{"a": 2}]
    assert Board(folder, 1).last() == {"a": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "1.json"]


def test_who_is_alone_tells_nobody(tmp_path: Path) -> None:
    board = Board()
    board.publish({"a": 1})
    assert board.alone and board.others() == [] and board.last() is None


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nobody(tmp_path: Path) -> None:
    board = Board(str(tmp_path / "gone"), 0)
    with capture_logs() as lines:
        for _ in range(3):
            board.publish({"a": 1})
        (tmp_path / "gone").mkdir()
        board.publish({"a": 2})
        (tmp_path / "gone" / "0.json").unlink()
        (tmp_path / "gone").rmdir()
        board.publish({"a": 3})
    assert [line["log_level"] for line in lines] == ["error", "error"]


def test_what_a_killed_gateway_left_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    (left / "lock").touch()
    (left / "0.json").touch()
    with shared_folder(tmp_path) as first:
        assert not left.exists()
        with shared_folder(tmp_path) as second:
            assert Path(first).exists() and Path(second).exists() and first != second
    assert list(tmp_path.iterdir()) == []
