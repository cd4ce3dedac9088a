"""Parameter files: what is read, and the line for what is wrong."""

from pathlib import Path
from typing import Self

import pytest
from pydantic import Field, model_validator

from stages.run.errors import UserError
from stages.run.params import Params, load_params, read_sections


class Inner(Params):
    alpha: float = 0.3


class Outer(Params):
    learning_rate: float = Field(gt=0)
    group_size: int = 8
    names: tuple[str, ...] = ()
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"{self.names[0]} is named twice")
        return self


def load(tmp_path: Path, text: str) -> Outer:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_params(Outer, "tgrpo", path)


def test_a_section_is_read_with_lists_and_numbers_as_yaml_writes_them(tmp_path: Path) -> None:
    params = load(tmp_path, "tgrpo:\n  learning_rate: 1e-6\n  names: [a, b]\n  inner: {alpha: 1}\n")
    assert params == Outer(learning_rate=1e-6, names=("a", "b"), inner=Inner(alpha=1.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tgrpo: {learning_rat: 1.0}", "unknown parameter 'tgrpo.learning_rat'; did you mean 'learning_rate'?"),
        (
            "tgrpo: {learning_rate: 1.0, inner: {alhpa: 1}}",
            "unknown parameter 'tgrpo.inner.alhpa'; did you mean 'alpha'?",
        ),
        (
            "tgrpo: {learning_rate: 1.0, many: [{alhpa: 1}]}",
            "unknown parameter 'tgrpo.many.0.alhpa'; did you mean 'alpha'?",
        ),
        ("tgrpo: {learning_rate: 1.0, group_size: 8.5}", "'tgrpo.group_size' is 8.5"),
        ("tgrpo: {learning_rate: 1.0, group_size: '8'}", "'tgrpo.group_size' is \"8\""),
        ("tgrpo: {learning_rate: 0}", "'tgrpo.learning_rate' is 0"),
        ("tgrpo: {learning_rate: 1.0, names: [a, a]}", "params.yaml: 'tgrpo': a is named twice"),
        ("tgrpo: {}", "'tgrpo.learning_rate' is {}: Field required"),
        ("tgrop: {}", "no section 'tgrpo'; did you mean 'tgrop'?"),
        ("tgrpo: {learning_rate: [", "not valid YAML"),
        (f"tgrpo: {{group_size: {'9' * 5000}}}", "not valid YAML"),
        ("tgrpo: {learning_rate: 2026-11-25}", "'tgrpo.learning_rate' is \"2026-11-25\""),
        ("8", "no section 'tgrpo'"),
        ("", "no section 'tgrpo'"),
    ],
)
def test_a_bad_parameter_is_one_line_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_with_one_bad_item_is_not_called_too_short_as_well(tmp_path: Path) -> None:
    class Lists(Params):
        some: tuple[Inner, ...] = Field(min_length=1)

    path = tmp_path / "params.yaml"
    path.write_text("tgrpo: {some: [{alpha: x}]}")
    with pytest.raises(UserError, match=r"'tgrpo.some.0.alpha' is \"x\": [^;]*$"):
        load_params(Lists, "tgrpo", path)
    path.write_text("tgrpo: {some: []}")
    with pytest.raises(UserError, match=r"'tgrpo.some' is \[\]: .* at least 1 item"):
        load_params(Lists, "tgrpo", path)


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"tgrpo: {names: [\xff]}")
    with pytest.raises(UserError, match=r"params\.yaml: not valid YAML"):
        load_params(Outer, "tgrpo", tmp_path / "params.yaml")
    with pytest.raises(UserError, match="no such file"):
        load_params(Outer, "tgrpo", tmp_path)


def test_an_items_own_values_stand_over_the_defaults_and_other_items_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        "evaluate:\n  defaults: {learning_rate: 1.0, group_size: 4}\n"
        "  mvbench: {group_size: 2}\n  mmvu: {nonsense: 1}\n  empty:\n"
    )
    assert load_params(Outer, "evaluate", path, "mvbench") == Outer(learning_rate=1.0, group_size=2)
    assert load_params(Outer, "evaluate", path, "empty") == load_params(Outer, "evaluate", path, "absent")
    with pytest.raises(UserError, match=r"unknown parameter 'evaluate\.nonsense'"):
        load_params(Outer, "evaluate", path, "mmvu")
    for text in ("evaluate: {learning_rate: 1.0}", "evaluate: {defaults: }", "evaluate: 8"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"no 'evaluate\.defaults', which holds the common values"):
            load_params(Outer, "evaluate", path, "mmvu")
    path.write_text("evaluate: {defaults: {learning_rate: 1.0}, mmvu: [1]}")
    with pytest.raises(UserError, match=r"'evaluate' is \[1\]"):
        load_params(Outer, "evaluate", path, "mmvu")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*{'a' if n == 0 else f'b{n - 1}'}, *a, *a]\n" for n in range(9)),
            None,
        ),
        (
            "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10) if n else 'x'}]\n" for n in range(12)),
            "more than 20000 values",
        ),
        ("toy: &a\n  again: *a\n", "nested too deeply"),
        ("[" * 5000, "not valid YAML|nested too deeply"),
        ("toy: " + "{a: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    ],
)
def test_a_file_that_grows_or_contains_itself_is_one_line(tmp_path: Path, text: str, line: str | None) -> None:
    (tmp_path / "params.yaml").write_text(text)
    if line is None:
        assert len(read_sections(tmp_path / "params.yaml")) == 10
        return
    with pytest.raises(UserError, match=line) as error:
        read_sections(tmp_path / "params.yaml")
    assert "\n" not in str(error.value)
