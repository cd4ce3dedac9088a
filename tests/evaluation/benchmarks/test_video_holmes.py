"""Video-Holmes: its official file."""

import json
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import video_holmes


def test_the_official_layout_is_read_with_its_options_and_question_types(tmp_path: Path) -> None:
    row = {"video ID": "0at001QMutY", "Question ID": 1, "Question Type": "SR", "Question": "Who is she?", "Answer": "C"}
    options = {"A": "his wife", "B": "his sister", "C": "a ghost", "D": "", "E": "nobody", "F": "his boss"}
    rows = [
        row | {"Options": options},
        row | {"Options": options, "Question ID": 2, "Question Type": "TCI", "Answer": "F"},
    ]
    rows.append(row | {"Options": options, "video ID": "gone"})
    (tmp_path / "test_Video-Holmes.json").write_text(json.dumps(rows))
    (tmp_path / "videos_cropped").mkdir()
    (tmp_path / "videos_cropped" / "0at001QMutY.mp4").touch()
    first, second, missing = video_holmes.read(tmp_path)
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert (first.sample_id, first.category, first.answer) == ("video_holmes-0at001QMutY-1", "SR", "C")
    assert first.options == ("A. his wife", "B. his sister", "C. a ghost", "E. nobody", "F. his boss")
    assert (second.sample_id, second.category) == ("video_holmes-0at001QMutY-2", "TCI")
    assert video_holmes.BENCHMARK.score("(C)", first, "official") == 1
    assert isinstance(missing, Reject)
    assert (missing.sample_id, missing.reason) == ("video_holmes-gone-1", "missing media")
