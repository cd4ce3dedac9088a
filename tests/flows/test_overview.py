from flows.graph import Snapshot, Stage
from flows.overview import overview

STAGES = [
    Stage("shapes", (), {}),
    Stage("sft", ("shapes",), {}),
    Stage("tgrpo", ("shapes", "sft"), {}),
    Stage("evaluate@sft", ("sft",), {}),
    Stage("evaluate@tgrpo", ("tgrpo",), {}),
    Stage("report", ("sft", "evaluate@sft", "evaluate@tgrpo"), {}),
]


def test_each_stage_is_a_line_with_its_state_and_what_it_reads_from() -> None:
    lines = overview(Snapshot(STAGES, {"tgrpo"}, {})).splitlines()
    assert [line.split("←")[0].split(maxsplit=1) for line in lines] == [
        ["shapes", "up to date"],
        ["sft", "up to date                     "],
        ["tgrpo", "changed                        "],
        ["evaluate", "1 up to date, 1 after a change "],
        ["report", "after a change                 "],
    ]
    assert [line.partition("← ")[2] for line in lines] == ["", "shapes", "sft", "tgrpo", "evaluate"]
    assert max(map(len, lines)) < 80
