"""Runs with other parameters, each in a git worktree of its own.

A run shares the DVC cache of the checkout and ends as a DVC experiment. The checkout a person works in is never
touched. The worktree starts as a copy of the checkout: the last commit and all else that git does not ignore. So the
run sees the code, the parameters and the metrics that the person sees.

The name of a worktree follows from all that goes into the run. So the next run with the same parameters goes on where a
killed one was, checkpoints included.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import JsonValue
from ruamel.yaml import YAML

from flows import dvc, parameters
from flows.checkout import worktrees
from flows.errors import UsageError, nearest
from flows.lock import hold


@dataclass(frozen=True)
class Experiment:
    """What differs from the checkout `home`.

    overrides: single parameters, `{"tgrpo.alpha": 0.5}`; profile: a whole set of parameters from profiles/.
    """

    home: Path
    overrides: Mapping[str, JsonValue]
    profile: str | None = None

    @cached_property
    def params(self) -> str:
        """The text of params.yaml that the experiment runs with."""
        source = self.home / "profiles" / f"{self.profile}.yaml" if self.profile else self.home / "params.yaml"
        if (self.profile and not re.fullmatch(r"[\w-]+", self.profile)) or not source.is_file():
            raise UsageError(f"no profile {self.profile!r}: {source} does not exist")
        text = source.read_text(encoding="utf-8")
        parameters.load_yaml(text, str(source))
        return override(text, self.overrides)

    @cached_property
    def tree(self) -> str:
        """The git tree of the checkout as it is now.

        What is not committed is in it. The tree is written through an index of its own, so that the person's index
        stays as it is.
        """
        with TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            git(self.home, "read-tree", "HEAD", env=index)
            git(self.home, "add", "--all", env=index)
            return git(self.home, "write-tree", env=index).strip()

    @cached_property
    def name(self) -> str:
        """`alpha-0.5-3f9a21`: the overrides, and a hash of all that goes in."""
        words = [self.profile or ""] + [f"{key.rpartition('.')[2]}-{value}" for key, value in self.overrides.items()]
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-.")[:40]
        start = git(self.home, "rev-parse", "HEAD") + self.tree + self.params
        return f"{slug}-{hashlib.sha256(start.encode()).hexdigest()[:6]}"

    @property
    def root(self) -> Path:
        """The worktree, in DVC's temporary folder, where neither git nor DVC looks."""
        return worktrees(self.home) / self.name

    @property
    def ready(self) -> Path:
        """The file that marks a complete worktree."""
        return self.root / ".dvc" / "tmp" / "ready"

    @property
    def lock(self) -> Path:
        """The lock that the run holds while it works on the experiment."""
        return self.root.with_name(f"{self.name}.lock")


def create(experiment: Experiment) -> None:
    """Makes the worktree with its parameters and the artifacts of the checkout.

    A complete worktree that a killed run left is kept as it is.
    """
    home, root = experiment.home, experiment.root
    if experiment.ready.exists():
        return
    discard(experiment)
    git(home, "worktree", "add", "--quiet", "--detach", str(root), "HEAD")
    git(root, "read-tree", "--reset", "-u", experiment.tree)
    git(root, "reset", "--quiet")  # DVC saves no experiment while anything is staged
    (root / "params.yaml").write_text(experiment.params)
    dvc.share_cache(home, root)
    dvc.call(root, "checkout", "--allow-missing")
    link_sources(home, root)
    experiment.ready.parent.mkdir(exist_ok=True)
    experiment.ready.touch()


def link_sources(home: Path, root: Path) -> None:
    """Links the source folders of the checkout into the worktree.

    git ignores these folders and no stage makes them, so the worktree lacks them.
    """
    for folder in dvc.source_folders(root):
        if folder.is_relative_to(root) and (data := home / folder.relative_to(root)).exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(data)


def save(experiment: Experiment) -> None:
    """Records the worktree as a DVC experiment and removes it.

    One experiment is saved at a time, because all of them write to DVC's references in the same repository.
    """
    with hold(experiment.root.parent / "save.lock", experiment.name, on_wait=lambda holder: None):
        new = git(experiment.root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")[:-1]
        include = [f"--include-untracked={path}" for path in new if not (experiment.root / path).is_symlink()]
        dvc.call(experiment.root, "exp", "save", "--force", "--name", experiment.name, *include)
    discard(experiment)


def discard(experiment: Experiment) -> None:
    """Removes the worktree, whatever state it is in."""
    if experiment.root.exists():
        shutil.rmtree(experiment.root)
    git(experiment.home, "worktree", "prune")


def git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Runs git and returns its output; UsageError when it fails."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UsageError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def parse_value(text: str) -> JsonValue:
    """A value as in params.yaml: `0.5`, `1e-4`, `true`, `[1, 2]`, `word`."""
    return parameters.load_yaml(text, f"the value {text!r}")


def override(text: str, overrides: Mapping[str, JsonValue]) -> str:
    """The text of a params file with other values.

    Its comments are kept. UsageError for a name that is not in the file, and for the name of a whole section.
    """
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1000
    content = yaml.load(text)
    for name, value in overrides.items():
        *sections, last = name.split(".")
        if not sections and isinstance(section_with(content, name, name)[name], Mapping):
            parameters = ", ".join(f"{name}.{key}" for key in content[name])
            raise UsageError(f"{name!r} is a whole section: name its parameters, {parameters}")
        place = content
        for section in sections:
            place = section_with(place, section, name)[section]
        section_with(place, last, name)[last] = value
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()


def section_with(place: object, key: str, name: str) -> dict[str, object]:
    """`place` as a section that has `key`.

    UsageError when it is no section or lacks the key; `name` is the parameter that is looked for.
    """
    section = place if isinstance(place, dict) else {}
    names = {str(other) for other in section}
    if key not in names:
        raise UsageError(f"no parameter {name!r}: {key!r} is unknown{nearest(key, names)}")
    return section
