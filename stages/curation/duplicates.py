"""Rules against repeated questions about one clip."""

import hashlib
import sqlite3

from datasketch import MinHash

from stages.curation.text import plain
from stages.data.sample import Sample
from stages.video.clips import ClipRow

PERMUTATIONS = 128  # of MinHash, as is common


class Duplicates:
    """The same question about the same media, apart from case and punctuation.

    Earlier questions are remembered on disk, in SQLite.
    """

    def __init__(self) -> None:
        self._seen = sqlite3.connect("")
        self._seen.execute("CREATE TABLE seen (question BLOB PRIMARY KEY, sample_id TEXT) WITHOUT ROWID")

    def __call__(self, sample: Sample) -> str | None:
        """Which earlier sample asks the same, or None."""
        asked = plain(sample.problem), plain(" ".join(sample.options))
        question = hashlib.sha256(repr((_media(sample), asked)).encode()).digest()
        added = self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (question, sample.sample_id)).rowcount
        if added:
            return None
        [(first,)] = self._seen.execute("SELECT sample_id FROM seen WHERE question = ?", (question,))
        return f"same as {first}"


class NearDuplicates:
    """Nearly the same question about media that looks the same.

    The measure is the Jaccard similarity of the words of question and options. MinHash finds the candidates among the
    questions about one clip, and the similarity itself decides: a question below the threshold is never dropped; of
    those at the threshold at least 99 in 100 are found, above it more. Questions about different clips are not
    compared, because template questions repeat over many. Earlier questions are remembered on disk, in SQLite.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._rows = rows_per_band(threshold)
        self._blank = MinHash(PERMUTATIONS)
        self._seen = sqlite3.connect("")
        self._seen.execute("CREATE TABLE questions (number INTEGER PRIMARY KEY, sample_id TEXT, words TEXT)")
        self._seen.execute("CREATE TABLE bands (band BLOB, number INTEGER, PRIMARY KEY (band, number)) WITHOUT ROWID")

    def __call__(self, sample: Sample, clip: ClipRow | None = None) -> str | None:
        """Which earlier sample asks nearly the same, or None.

        Without `clip` only equal media counts as the same.
        """
        about = clip["near_clip"] if clip else repr(_media(sample))
        asked = set(plain(f"{sample.problem} {' '.join(sample.options)}").split())
        bands = self._bands(about, asked)
        if found := self._earlier(asked, bands):
            return found
        question = sample.sample_id, " ".join(sorted(asked))
        number = self._seen.execute("INSERT INTO questions (sample_id, words) VALUES (?, ?)", question).lastrowid
        self._seen.executemany("INSERT INTO bands VALUES (?, ?)", ((band, number) for band in bands))
        return None

    def _earlier(self, asked: set[str], bands: list[bytes]) -> str | None:
        """The first earlier question that shares a band and reaches the threshold."""
        alike = f"SELECT DISTINCT number FROM bands WHERE band IN ({', '.join('?' * len(bands))})"
        query = f"SELECT sample_id, words FROM questions WHERE number IN ({alike}) ORDER BY number"
        for sample_id, text in self._seen.execute(query, bands):
            other = set(text.split())
            similarity = len(asked & other) / len(asked | other) if asked | other else 1.0
            if similarity >= self._threshold:
                return f"{similarity:.2f} like {sample_id}"
        return None

    def _bands(self, about: str, asked: set[str]) -> list[bytes]:
        """Keys that questions share when a band of their MinHashes is equal.

        Questions about different clips share no key. The keys of one clip begin alike, so that they lie together in
        the index.
        """
        sketch = self._blank.copy()
        sketch.update_batch([word.encode() for word in asked])
        clip, values = hashlib.blake2b(about.encode(), digest_size=8).digest(), sketch.hashvalues
        starts = range(0, PERMUTATIONS - self._rows + 1, self._rows)
        parts = [values[start : start + self._rows].tobytes() for start in starts]
        return [
            clip + hashlib.blake2b(part, digest_size=8, salt=bytes([band])).digest() for band, part in enumerate(parts)
        ]


def rows_per_band(threshold: float) -> int:
    """The most MinHash values per band that find 99 pairs in 100.

    Two sets of this similarity then share at least one band with a probability of 0.99.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= 0.99:
            return rows
    return 1


def _media(sample: Sample) -> tuple[object, ...]:
    """What identifies the pixels that a question is about."""
    return sample.media_sha256, sample.clip_start, sample.clip_end
