from pathlib import Path

import pytest

from stages.run.addresses import Address, place_of


@pytest.mark.parametrize(
    ("text", "container", "key"),
    [
        ("s3://bucket/videos/a.mp4", "bucket", "videos/a.mp4"),
        ("gs://my-bucket/", "my-bucket", ""),
        ("hf://datasets/me/it@main/clips/a b.mp4", "datasets/me/it@main", "clips/a b.mp4"),
    ],
)
def test_an_address_has_a_container_and_a_key(text: str, container: str, key: str) -> None:
    address = Address.parse(text)
    assert (address.container, address.key) == (container, key)
    assert str(address) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "http://127.0.0.1/a",
            "https://host/a?key=SECRET",
            "ftp://host/a",
            "file:///etc/passwd",
            "local://etc/passwd",
        ),
        *("simplecache::s3://bucket/a", "zip://a.json::s3://bucket/x.zip", "s3::s3://bucket/a", "S3://bucket/a"),
        *("s3://bucket/a/../../other/b", "s3://bucket/./a", "s3://bucket//a", "s3://../a", "s3://", "s3:///a"),
        *("s3://KEY:SECRET@bucket/a", "s3://bucket:80/a", "s3://bucket/a\nb", "s3://bucket/a\x00", "s3://b/a"),
        *("hf://models/me/it/a", "hf://datasets/me", "hf://me/it/a", "memory://a", "github://a:b@/c", "://a"),
        f"s3://bucket/{'a' * 1300}",
    ],
)
def test_other_protocols_chains_and_keys_that_lead_elsewhere_are_refused_without_a_repetition(text: str) -> None:
    with pytest.raises(ValueError, match=r"an address begins|a key has") as error:
        Address.parse(text)
    assert "SECRET" not in str(error.value)


def test_a_path_below_an_address_stays_below_it() -> None:
    media = Address.parse("s3://bucket/videos")
    for path in ("clips/a.mp4", "./clips/a.mp4", "s3://bucket/videos/clips/a.mp4"):
        assert str(media / path) == "s3://bucket/videos/clips/a.mp4"
    for path in ("../a", "clips/../../a", "/etc/passwd", "s3://other/a", "s3://bucket/videos2/a", "", ".", "a//b"):
        with pytest.raises(ValueError, match=r"no path below|a key has no"):
            _ = media / path


def test_text_with_the_mark_of_an_address_is_one_and_any_other_is_a_path() -> None:
    assert place_of("clips/a.mp4", Path("data")) == Path("data/clips/a.mp4")
    assert place_of("s3://bucket/a.mp4", Path("data")) == Address("s3", "bucket", "a.mp4")


def test_a_strange_suffix_does_not_reach_the_disk() -> None:
    assert Address.parse("s3://bucket/a.MP4").suffix == ".mp4"
    assert Address.parse("s3://bucket/a.mp4?x=1").suffix == ""
