"""Rules of curation, each a small function: why a thought or a sample is dropped, or None to keep it.

Thought rules look at one answer of the teacher, sample rules at the question and its media. Correctness (> 0.6), format and length are the
paper's (paper.md §4); the others are common practice: n-gram repetition as in Gopher and datatrove, 13-gram decontamination as in GPT-3.
"""

import hashlib
import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from datasketch import MinHash
from pydantic import Field

from stages.data.grading import extract_answer, grade, is_well_formed, numbers_in, option_letter, parse_number
from stages.data.prompt import question_text
from stages.data.sample import Flag, ProblemType, Sample
from stages.run.params import Params

_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?=\d)[^.!?\n]*)*")  # a point inside a number ends no sentence
_NAMED_OPTION = re.compile(r"\b(?i:option|answer|choice)(?i: is)?:?\s*[(*]*([A-Z])\b|\(([A-Z])\)")
_DENIED_OPTION = re.compile(
    r"(?:\bnot|n't|\bthan|\binstead of)(?: the)?(?i: option| answer| choice)?\s*[(*]*[A-Z]\b\)?"
)
_COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_PUNCTUATION = re.compile(r"[\s.,;:!?\"'()\[\]]+")
_SPECIAL_TOKEN = re.compile(r"<[|｜][^\s<>|｜]+[|｜]>|</?s>|\[/?INST\]|<(?:image|video)>")
_SAME_SCRIPT = {
    "HIRAGANA": "CJK",
    "KATAKANA": "CJK",
    "KATAKANA-HIRAGANA": "CJK",
    "IDEOGRAPHIC": "CJK",
    "GREEK": "LATIN",
}
LEAK_GRAM = 8  # words in a row that a thought shares with the prompt's instructions
CONTAMINATION_GRAM = 13
PERMUTATIONS = 128  # of MinHash, as is common


class Answer(NamedTuple):
    """One answer of the teacher: annotate's status and detail, the raw text and its length in the teacher's tokens."""

    status: str
    detail: str
    text: str
    completion_tokens: int


class Marks(NamedTuple):
    """What the frames stage found about a sample's clip: the first sample that shows nearly the same, flags, and their numbers."""

    near_clip: str
    flags: list[Flag]
    brightness: float
    motion: float | None
    seconds: float
    keyframes: int | None


class RuleParams(Params):
    """Bounds of the rules."""

    min_correctness: dict[ProblemType, float] = Field(
        default={}, description="kept when the grade is higher; 0.6 for a type not named"
    )
    min_tokens: int = Field(default=0, ge=0, description="of the whole answer, counted by the teacher's server")
    max_tokens: int = Field(default=512, ge=1)
    repetition_gram: int = Field(default=4, ge=1, description="words per n-gram")
    max_repetition: float = Field(default=0.3, ge=0, le=1, description="largest share of n-grams that occur again")
    max_foreign: float = Field(
        default=0.02, ge=0, le=1, description="largest share of letters in scripts that the question does not use"
    )
    near_duplicate: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity of words from which questions are the same"
    )
    reject_flags: tuple[Flag, ...] = Field(
        default=("black", "frozen"), description="what the rule quality drops clips for"
    )
    contamination: Literal["media and text", "media or text"] = Field(
        default="media and text", description="what a sample must share with a benchmark to be dropped"
    )
    max_per_source: dict[str, int] = Field(default={}, description="by source name; the first ones are kept")
    max_per_type: dict[ProblemType, int] = Field(default={}, description="by answer type")
    pass_rate: tuple[float, float] = Field(
        default=(0.0, 1.0), description="keep questions whose share of correct answers lies between"
    )


# ---- thoughts -----------------------------------------------------------------------------------------------------------------------


def answered(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """The teacher answered: neither failed nor refused."""
    return f"{answer.status}: {answer.detail}" if answer.status in ("failed", "refused") else None


def not_truncated(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """The teacher finished."""
    return answer.detail or "truncated" if answer.status == "truncated" else None


def well_formed(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """Exactly one thought and one answer, nothing else, neither empty."""
    if not is_well_formed(answer.text):
        return f"not <think>…</think><answer>…</answer>: {answer.text[:80]!r}"
    if not thought_of(answer.text):
        return "empty thought"
    return None if extract_answer(answer.text) else "empty answer"


def correctness(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """The answer's grade is above the threshold of its type."""
    given, threshold = extract_answer(answer.text), params.min_correctness.get(sample.problem_type, 0.6)
    score = grade(given, sample.answer, sample.problem_type)
    return None if score > threshold else f"{given!r} for {sample.answer!r}: {score:.2f}, not above {threshold:g}"


def length(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """Neither too short nor too long."""
    if params.min_tokens <= answer.completion_tokens <= params.max_tokens:
        return None
    return f"{answer.completion_tokens} tokens, not {params.min_tokens} to {params.max_tokens}"


def repetition(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """The thought does not go in circles: the share of its n-grams that occur before in it."""
    grams = ngrams(words(thought_of(answer.text)), params.repetition_gram)
    share = 1 - len(set(grams)) / len(grams) if grams else 0.0
    return f"{share:.0%} of the {params.repetition_gram}-grams repeat" if share > params.max_repetition else None


def language(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """The thought stays in the scripts of the question (a teacher that slips into Chinese half-way does not)."""
    known = _scripts(f"{sample.problem} {' '.join(sample.options)} {sample.answer}")
    scripts = _scripts(thought_of(answer.text))
    foreign = sum(count for name, count in scripts.items() if name not in known)
    if foreign <= params.max_foreign * scripts.total():
        return None
    return f"{foreign} of {scripts.total()} letters are {', '.join(sorted(set(scripts) - set(known)))}"


def conclusion(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """What the thought's last sentence concludes is the answer given; a sentence that names no option or number concludes nothing.

    Options that it denies ("not option B") are not named; numbers agree when rounding gives the answer.
    """
    sentences = [part for part in _SENTENCE.findall(thought_of(answer.text)) if part.strip()]
    last, given = sentences[-1] if sentences else "", extract_answer(answer.text) or ""
    if sample.problem_type == "multiple choice":
        named = {first or second for first, second in _NAMED_OPTION.findall(_DENIED_OPTION.sub("", last))}
        named &= {option_letter(option) for option in sample.options} or named
        disagrees = bool(named) and option_letter(given) not in named
    else:
        target = parse_number(given) if sample.problem_type in ("numerical", "regression") else None
        disagrees = (
            target is not None
            and bool(found := numbers_in(last))
            and not _rounds_to(abs(target), [*found, *_counted(last)])
        )
    return f"answer {given!r} after {last.strip()[-80:]!r}" if disagrees else None


def no_leak(sample: Sample, answer: Answer, params: RuleParams) -> str | None:
    """The thought neither repeats the prompt's instructions nor holds a chat template's special tokens."""
    thought = thought_of(answer.text)
    if token := _SPECIAL_TOKEN.search(thought):
        return f"special token {token.group()}"
    shared = instructions(sample.problem_type) & set(ngrams(words(thought), LEAK_GRAM))
    return f"repeats the prompt: {' '.join(min(shared))}" if shared else None


# ---- samples ------------------------------------------------------------------------------------------------------------------------


class Duplicates:
    """The same question about the same media, apart from case and punctuation. What came before is remembered on disk, in SQLite."""

    def __init__(self) -> None:
        self._seen = sqlite3.connect("")
        self._seen.execute("CREATE TABLE seen (question BLOB PRIMARY KEY, sample_id TEXT) WITHOUT ROWID")

    def __call__(self, sample: Sample) -> str | None:
        asked = plain(sample.problem), plain(" ".join(sample.options))
        question = hashlib.sha256(repr((media(sample), asked)).encode()).digest()
        added = self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (question, sample.sample_id)).rowcount
        if added:
            return None
        [(first,)] = self._seen.execute("SELECT sample_id FROM seen WHERE question = ?", (question,))
        return f"same as {first}"


class NearDuplicates:
    """Nearly the same question about media that is or looks the same: Jaccard similarity of the words of question and options.

    MinHash finds the candidates among the questions about one clip, however many those are, and the similarity itself decides: nothing
    below the threshold is dropped, and at it at least 99 of 100 are found, above it more. Questions about different clips are not
    compared (template questions repeat over many). What came before is remembered on disk.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._rows = rows_per_band(threshold)
        self._blank = MinHash(PERMUTATIONS)
        self._seen = sqlite3.connect("")
        self._seen.execute("CREATE TABLE questions (number INTEGER PRIMARY KEY, sample_id TEXT, words TEXT)")
        self._seen.execute("CREATE TABLE bands (band BLOB, number INTEGER, PRIMARY KEY (band, number)) WITHOUT ROWID")

    def __call__(self, sample: Sample, marks: Marks | None = None) -> str | None:
        about, asked = (
            marks.near_clip if marks else repr(media(sample)),
            set(plain(f"{sample.problem} {' '.join(sample.options)}").split()),
        )
        bands = self._bands(about, asked)
        alike = f"SELECT DISTINCT number FROM bands WHERE band IN ({', '.join('?' * len(bands))})"
        for sample_id, text in self._seen.execute(
            f"SELECT sample_id, words FROM questions WHERE number IN ({alike}) ORDER BY number", bands
        ):
            other = set(text.split())
            similarity = len(asked & other) / len(asked | other) if asked | other else 1.0
            if similarity >= self._threshold:
                return f"{similarity:.2f} like {sample_id}"
        question = sample.sample_id, " ".join(sorted(asked))
        number = self._seen.execute("INSERT INTO questions (sample_id, words) VALUES (?, ?)", question).lastrowid
        self._seen.executemany("INSERT INTO bands VALUES (?, ?)", ((band, number) for band in bands))
        return None

    def _bands(self, about: str, asked: set[str]) -> list[bytes]:
        """What two questions about one clip share when a band of their MinHashes is equal; a clip's bands stand together."""
        sketch = self._blank.copy()
        sketch.update_batch([word.encode() for word in asked])
        clip, values = hashlib.blake2b(about.encode(), digest_size=8).digest(), sketch.hashvalues
        starts = range(0, PERMUTATIONS - self._rows + 1, self._rows)
        parts = [values[start : start + self._rows].tobytes() for start in starts]
        return [
            clip + hashlib.blake2b(part, digest_size=8, salt=bytes([band])).digest() for band, part in enumerate(parts)
        ]


def rows_per_band(threshold: float) -> int:
    """The most MinHash values that a band may hold so that two sets of this similarity share one with a probability of 0.99."""
    rows = range(PERMUTATIONS, 0, -1)
    return next((each for each in rows if 1 - (1 - threshold**each) ** (PERMUTATIONS // each) >= 0.99), 1)


def quality(marks: Marks | None, params: RuleParams) -> str | None:
    """The clip has none of the flags that `reject_flags` names."""
    found = [flag for flag in params.reject_flags if marks and flag in marks.flags]
    if not marks or not found:
        return None
    numbers = {name: getattr(marks, name) for name in ("brightness", "motion", "seconds", "keyframes")}
    return f"{', '.join(found)}: {', '.join(f'{name} {number:.4g}' for name, number in numbers.items() if number is not None)}"


class Contamination:
    """Shared with a benchmark: the same media (its file or its frames), and (or: or) 13 words of question and options in a row."""

    def __init__(
        self, benchmarks: Mapping[str, Iterable[Sample]], mode: Literal["media and text", "media or text"]
    ) -> None:
        self._both = mode == "media and text"
        self._media: dict[str, str] = {}
        self._grams: dict[tuple[str, ...], str] = {}
        for name, samples in benchmarks.items():
            for sample in samples:
                self._media.setdefault(sample.media_sha256, name)
                self._grams.update(dict.fromkeys(self._text(sample), name))

    def __call__(self, sample: Sample, shows: Callable[[], str | None] = lambda: None) -> str | None:
        """`shows` names the benchmark that shows the same frames; it is asked only where the answer matters."""
        gram = next((gram for gram in self._text(sample) if gram in self._grams), None)
        text = f"text of {self._grams[gram]}: {' '.join(gram)}" if gram else None
        if self._both and not text:
            return None
        media = f"media of {self._media[sample.media_sha256]}" if sample.media_sha256 in self._media else None
        if not media and (self._both or not text) and (name := shows()):
            media = f"frames of {name}"
        found = [part for part in (media, text) if part]
        return "; ".join(found) if len(found) >= (2 if self._both else 1) else None

    @staticmethod
    def _text(sample: Sample) -> list[tuple[str, ...]]:
        """The 13-grams, or all the words of a shorter question."""
        asked = words(f"{sample.problem} {' '.join(sample.options)}")
        return ngrams(asked, min(CONTAMINATION_GRAM, len(asked)))


class Balance:
    """At most so many samples of a source and of an answer type: the first ones in the table's order."""

    def __init__(self, max_per_source: Mapping[str, int], max_per_type: Mapping[ProblemType, int]) -> None:
        self._limits: dict[tuple[str, str], int] = {("source", name): limit for name, limit in max_per_source.items()}
        self._limits |= {("type", name): limit for name, limit in max_per_type.items()}
        self._kept: Counter[tuple[str, str]] = Counter()

    def __call__(self, sample: Sample) -> str | None:
        belongs = [("source", sample.source), ("type", sample.problem_type)]
        full = [where for where in belongs if where in self._limits and self._kept[where] >= self._limits[where]]
        if full:
            return "; ".join(f"{kind} {name} has its {self._limits[kind, name]}" for kind, name in full)
        self._kept.update(belongs)
        return None


def difficulty(sample: Sample, answers: Sequence[Answer], params: RuleParams) -> str | None:
    """Neither always nor never answered right by the teacher, for questions asked more than once: equal rewards teach RL nothing.

    A request that failed is no answer.
    """
    given = [answer for answer in answers if answer.status != "failed"]
    if len(given) < 2:
        return None
    rate = sum(correctness(sample, answer, params) is None for answer in given) / len(given)
    low, high = params.pass_rate
    return (
        None if low < rate < high else f"{rate:.2f} of {len(given)} answers are right, not between {low:g} and {high:g}"
    )


# ---- text ---------------------------------------------------------------------------------------------------------------------------


def thought_of(text: str) -> str:
    """The words inside `<think>`, stripped; "" without any."""
    match = _THOUGHT.search(text)
    return match.group(1).strip() if match else ""


def words(text: str) -> list[str]:
    """Lower-case words of Unicode-normalised text; Chinese and the like without spaces count as one."""
    return unicodedata.normalize("NFKC", text).lower().translate(_WORD_LETTERS).split()


class _WordLetters(dict[int, str]):
    """Letters, their marks (without which words of many scripts fall apart) and digits as they are, all else as a space."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if unicodedata.category(chr(code))[0] in "LMN" or chr(code) == "_" else " "
        return self[code]


_WORD_LETTERS = _WordLetters()


def plain(text: str) -> str:
    """Unicode-normalised lower-case text without the punctuation of sentences; operators stay, so that 3+4 is not 3-4."""
    return _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()


def ngrams(items: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(items[start : start + n]) for start in range(len(items) - n + 1)] if n else []


def _counted(text: str) -> list[float]:
    """Numbers written as words."""
    return [float(_COUNTED.index(word)) for word in words(text) if word in _COUNTED]


def _rounds_to(target: float, numbers: Iterable[float]) -> bool:
    """Whether a number, without its sign, rounds to `target` at the places that `target` is written with."""
    places = len(f"{target:.10g}".partition(".")[2])
    return any(round(abs(number), places) == target for number in numbers)


def media(sample: Sample) -> tuple[object, ...]:
    """What identifies the pixels that a question is about."""
    return sample.media_sha256, sample.clip_start, sample.clip_end


def _scripts(text: str) -> Counter[str]:
    """How many letters of a text belong to which writing system."""
    counts: Counter[str] = Counter()
    for letter, count in Counter(unicodedata.normalize("NFKC", text)).items():
        if letter.isalpha():
            counts[script(letter)] += count
    return counts


@lru_cache(maxsize=4096)
def script(letter: str) -> str:
    """The writing system of a letter by its Unicode name: LATIN (with the Greek of formulas), CJK (with Japanese), CYRILLIC, …"""
    name = unicodedata.name(letter, "UNKNOWN").split()[0]
    return _SAME_SCRIPT.get(name, name)


@lru_cache(maxsize=16)
def instructions(problem_type: ProblemType) -> frozenset[tuple[str, ...]]:
    """8-grams of the paper's prompt without its question."""
    blank = Sample(
        sample_id="",
        source="",
        data_type="video",
        problem_type=problem_type,
        problem="",
        answer="",
        media_path="",
        media_sha256="",
    )
    return frozenset(ngrams(words(question_text(blank, "video-r1")), LEAK_GRAM))
