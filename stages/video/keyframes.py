"""Finds the packets that a decoder can start with.

A container without an index, or with a wrong one, marks packets as keyframes that are none. Most decoders do not report
it when they start with such a packet: they return grey or smeared pictures.
"""

from collections.abc import Callable

from av.codec.codec import Properties
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

KeyframeTest = Callable[[Packet], bool]

# Codecs whose decoders report a missing reference, or return no picture without it.
CHECKING_CODECS = frozenset({"h264", "hevc", "vvc", "vp8", "vp9", "av1", "mpeg1video", "mpeg2video"})

HEADER_BYTES = 16  # that the tests below look at


def keyframe_test(context: VideoCodecContext) -> KeyframeTest | None:
    """The test whether decoding can start with a packet.

    None means that only the start of the file is safe: the codec has no known header, or a palette that is sent once.
    """
    if context.pix_fmt == "pal8":
        return None
    if checks_references(context):
        return lambda packet: packet.is_keyframe
    if context.codec.properties & Properties.INTRA_ONLY.value:
        return lambda packet: True
    return INTRA_TESTS.get(context.codec.canonical_name)


def checks_references(context: VideoCodecContext) -> bool:
    """Whether the decoder notices that a picture lacks a reference."""
    return context.codec.canonical_name in CHECKING_CODECS


def _is_intra_mpeg4(packet: Packet) -> bool:
    """vop_coding_type after the first VOP start code is 0 (ISO/IEC 14496-2, 6.2.5)."""
    data = bytes(packet)
    vop = data.find(b"\0\0\1\xb6")
    return 0 <= vop < len(data) - 4 and data[vop + 4] >> 6 == 0


def _is_intra_h263(packet: Packet) -> bool:
    """The picture type in PTYPE is 0 (ITU-T H.263, 5.1.3).

    An extended header has it in MPPTYPE (5.1.4).
    """
    if _bits(packet, 0, 22) != 0x20:
        return False
    if _bits(packet, 35, 3) < 6:
        return _bits(packet, 38, 1) == 0
    has_all_options = _bits(packet, 38, 3) == 1
    return _bits(packet, 59 if has_all_options else 41, 3) == 0


def _is_intra_sorenson(packet: Packet) -> bool:
    """PictureType is 0 (Video File Format Specification 10.1, Sorenson H.263).

    It stands behind a size of 3, 19 or 35 bits.
    """
    size_bits = {0: 19, 1: 35}.get(_bits(packet, 30, 3), 3)
    return _bits(packet, 30 + size_bits, 2) == 0


# By the name of the codec. Microsoft's MPEG-4 and WMV 7 begin with two bits of picture type, WMV 8 with one. The first
# two bits of Theora say header or data, and intra or inter (Theora Specification, 7.1).
INTRA_TESTS: dict[str, KeyframeTest] = {
    "mpeg4": _is_intra_mpeg4,
    "h263": _is_intra_h263,
    "h263p": _is_intra_h263,
    "flv1": _is_intra_sorenson,
    "msmpeg4v2": lambda packet: _bits(packet, 0, 2) == 0,
    "msmpeg4v3": lambda packet: _bits(packet, 0, 2) == 0,
    "wmv1": lambda packet: _bits(packet, 0, 2) == 0,
    "wmv2": lambda packet: _bits(packet, 0, 1) == 0,
    "theora": lambda packet: _bits(packet, 0, 2) == 0,
}


def _bits(packet: Packet, start: int, count: int) -> int:
    """`count` bits of the packet from bit `start` on.

    Behind its end there are zeros.
    """
    header = bytes(memoryview(packet)[:HEADER_BYTES]).ljust(HEADER_BYTES, b"\0")
    return int.from_bytes(header, "big") >> (8 * HEADER_BYTES - start - count) & (1 << count) - 1
