import re
from xml.etree import ElementTree

from flows.chart import draw

LABELS = ["0.0", "0.3", "0.5"]
METRICS = {"m/a.json:accuracy": [0.25, 0.75, 0.5], "m/a.json:<b>": [1, None, 2]}


def test_each_metric_has_a_chart_with_a_point_per_experiment_that_has_it() -> None:
    picture = draw("tgrpo.alpha", LABELS, METRICS)
    charts = [part for part in ElementTree.fromstring(picture) if part.tag.endswith("}g")]
    points = [
        [(float(x.attrib["cx"]), float(x.attrib["cy"])) for x in part if x.tag.endswith("}circle")] for part in charts
    ]
    # 248 pixels across for three experiments from 56 on; 124 up from 160 between the least and the greatest value
    assert points == [[(56.0, 160.0), (180.0, 36.0), (304.0, 98.0)], [(56.0, 160.0), (304.0, 36.0)]]
    assert [part.attrib["transform"] for part in charts] == ["translate(0 20)", "translate(320 20)"]
    texts = ["".join(text.itertext()) for text in charts[1] if text.tag.endswith("}text")]
    assert texts == ["a.json:<b>", "1", "2", "0.0", "0.3", "0.5"]


def test_one_experiment_is_one_point_in_the_corner() -> None:
    picture = draw("tgrpo.alpha", LABELS[:1], {"m/a.json:accuracy": [0.25]})
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', picture) == [("56.0", "160.0")]
