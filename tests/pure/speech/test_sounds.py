"""From files to what an encoder hears: spectrum, WAV, rates, windows."""

import io
import struct
import tracemalloc
import wave

import numpy as np
import pytest
from support.speech.reference_whisper import filters, spectrum
from support.speech.speech_versions import as_wav, sound

from penstock.language.speech.features import log_mel, mel_filters
from penstock.language.speech.wav import MOST_CHUNKS, MOST_S, NoWav, resampled, samples_of
from penstock.language.speech.windows import windows


@pytest.mark.parametrize("mels", [80, 128])
def test_the_spectrum_is_that_of_a_plain_fourier_transform(mels):
    samples = sound(1.7, seed=2)

    assert mel_filters(mels) == pytest.approx(filters(mels), abs=1e-12)
    found = log_mel(samples, mels, 200)
    assert found == pytest.approx(spectrum(samples, mels, 200), abs=1e-5)
    assert (found.shape, found.dtype) == ((mels, 200), np.float32)


def test_what_is_behind_the_window_is_not_heard():
    samples = sound(1.5)

    assert np.array_equal(log_mel(samples, 80, 100), log_mel(samples[:16000], 80, 100))


def test_silence_is_a_number_as_well():
    assert np.isfinite(log_mel(np.zeros(100, np.float32), 80, 100)).all()


@pytest.mark.parametrize("rate", [8000, 11025, 16001, 22050, 44100, 48000, 96000])
def test_another_rate_is_the_same_sound(rate):
    def waves(rate):
        times = np.arange(rate) / rate
        return 0.4 * np.sin(2 * np.pi * 440 * times) + 0.2 * np.sin(2 * np.pi * 3000 * times)

    found = resampled(waves(rate).astype(np.float32), rate)

    assert len(found) == 16000
    assert found[300:-300] == pytest.approx(waves(16000)[300:-300], abs=1e-3)


def test_what_the_lower_rate_cannot_have_is_cut_off():
    times = np.arange(48000) / 48000
    high = np.sin(2 * np.pi * 12000 * times).astype(np.float32)

    assert np.abs(resampled(high, 48000)[300:-300]).max() < 1e-3


def _wav(frames, width, channels=1, rate=16000):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(frames)
    return file.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_whole_numbers_of_each_size_are_read(width):
    """A half, nothing, and the least that there is."""
    top = 1 << (8 * width - 1)
    numbers = [top // 2, 0, -top]
    if width == 1:
        frames = bytes(number + 128 for number in numbers)
    else:
        frames = b"".join(number.to_bytes(width, "little", signed=True) for number in numbers)

    assert samples_of(_wav(frames, width)).tolist() == [0.5, 0.0, -1.0]


@pytest.mark.parametrize(("kind", "is_read"), [(1, True), (3, False)])
def test_the_longer_form_of_whole_numbers_is_read(kind, is_read):
    """As ffmpeg writes 24 bits: the kind of numbers is in 22 bytes more. 3 is floats."""
    plain = _wav(b"\0\0\x40", 3)
    rest = struct.pack("<HHIH", 22, 24, 4, kind) + bytes.fromhex("000000001000800000aa00389b71")
    fields = b"fmt " + struct.pack("<IH", 40, 0xFFFE) + plain[22:36] + rest
    content = b"RIFF" + struct.pack("<I", len(plain) + 16) + b"WAVE" + fields + plain[36:]

    if is_read:
        assert samples_of(content).tolist() == [0.5]
        return
    with pytest.raises(NoWav, match="no WAV that can be read"):
        samples_of(content)


def test_channels_are_mixed():
    frames = np.array([[8192, -8192], [16384, 0]], "<i2").tobytes()

    assert samples_of(_wav(frames, 2, channels=2)).tolist() == [0.0, 0.25]


def test_a_file_of_16_khz_is_what_it_says_to_the_bit():
    samples = sound()

    assert np.array_equal(samples_of(as_wav(samples)), samples)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin as WAV does"),
        (b"ID3" + bytes(99), "the file is MP3"),
        (b"\0\0\0\x20ftypM4A " + bytes(99), "the file is MP4 or M4A"),
        (b"\x1aE\xdf\xa3" + bytes(99), "the file is WebM"),
        (as_wav(sound())[:30], "no WAV that can be read"),
        # 3 is floats.
        (as_wav(sound())[:20] + b"\3" + as_wav(sound())[21:], "no WAV that can be read"),
        (as_wav(sound())[:36], "it has no samples"),
        (as_wav(sound())[:12] + as_wav(sound())[36:], "nothing says how its samples are written"),
        (_wav(b"", 2), "no audio"),
        (_wav(b"\0\0" * 20, 2, channels=10), "10 channels"),
        (_wav(b"\0\0", 2, rate=3000), "at 3000 Hz"),
        (_wav(bytes(int(MOST_S * 4000) + 1), 1, rate=4000), "more than 900 seconds"),
    ],
)
def test_what_is_not_read_is_refused_by_name(content, said):
    with pytest.raises(NoWav, match=said):
        samples_of(content)


def test_a_header_that_lies_takes_no_memory():
    content = bytearray(as_wav(sound(0.1)))
    content[4:8] = content[40:44] = b"\xff\xff\xff\x7f"
    tracemalloc.start()
    found = samples_of(bytes(content))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found) == 1600
    assert most < 4 << 20


@pytest.mark.parametrize("size", [0, 1 << 31, 0xFFFFFFFF])
def test_a_size_that_was_written_before_the_end_is_not_believed(size):
    samples, content = sound(0.1), bytearray(as_wav(sound(0.1)))
    content[4:8] = size.to_bytes(4, "little")
    content[40:44] = max(size, 3200).to_bytes(4, "little")

    assert np.array_equal(samples_of(bytes(content)), samples)


@pytest.mark.parametrize("chunk", [b"JUNK\0\0\0\0", b"LIST\3\0\0\0abc\0", b"\0\0\0\0\1\0\0\0ab"])
def test_other_chunks_are_passed_over_as_many_as_there_may_be(chunk):
    samples, content = sound(0.1), as_wav(sound(0.1))
    there = MOST_CHUNKS - 2

    found = samples_of(content[:12] + chunk + content[12:36] + chunk * (there - 1) + content[36:])
    assert np.array_equal(found, samples)
    with pytest.raises(NoWav, match="more than 1000 chunks"):
        samples_of(content[:36] + chunk * (there + 1) + content[36:])


def test_damaged_files_are_read_or_refused_and_nothing_else():
    content, chance = as_wav(sound(0.05)), np.random.default_rng(4)
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for at in chance.integers(0, 48, 3):
            changed[at] = chance.integers(256)
        try:
            assert len(samples_of(bytes(changed))) > 0
        except NoWav:
            refused += 1
    assert 0 < refused < 300


def test_windows_are_cut_where_it_is_quiet_and_leave_nothing_out():
    samples = sound(3.5)
    samples[14000:15700] = 0

    found = windows(samples, 16000)

    assert found[0] == (0, 14800)
    assert [begin for begin, _ in found[1:]] == [end for _, end in found[:-1]]
    assert found[-1][1] == len(samples)
    assert all(0 < end - begin <= 16000 for begin, end in found)
    assert windows(samples[:16000], 16000) == [(0, 16000)]
