"""The cache gives what the decoder gives, decodes once, and neither damage nor a full disk stops training."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from relit.data import cache as cache_module
from relit.data.cache import PhotoCache
from relit.data.decoding import UnreadablePhoto
from relit.data.photo import read_photo, write_png
from relit.data.reader import PhotoReader, Resize
from relit.data.sets import PhotoSet
from relit.keyed import keyed_generator


def pixels(name: str, height: int = 40, width: int = 60) -> Tensor:
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=keyed_generator(name))


def photo(path: Path, content: str = "photo") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, pixels(content))
    return path


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Counting:
    """Decodes, and remembers what."""

    def __init__(self) -> None:
        self.decoded: list[str] = []

    def __call__(self, path: Path) -> Tensor:
        self.decoded.append(path.name)
        return read_photo(path)


def never(path: Path) -> Tensor:
    raise AssertionError(f"{path} is decoded again")


def reads_all(prepare: str, folder: Path) -> list[str]:
    """What :data:`READS_ALL` warns of in a process of its own."""
    command = [sys.executable, "-c", READS_ALL, prepare, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_entry_is_what_was_decoded_and_is_not_decoded_again(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    decode = Counting()
    first = cache.read(path, "whole", decode)
    assert decode.decoded == ["photo.png"]
    assert torch.equal(first, pixels("photo"))
    second = PhotoCache(tmp_path / "cache").read(path, "whole", never)
    assert torch.equal(second, first)
    assert (second.dtype, second.shape) == (torch.uint8, (3, 40, 60))


def test_an_entry_is_a_numpy_file_and_stands_alone(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    cache.read(path, "whole", read_photo)
    (entry,) = entries(tmp_path / "cache")
    assert entry.suffix == ".npy"
    assert entry.parent.name == entry.name[:2]
    np.testing.assert_array_equal(np.load(entry), pixels("photo").numpy())


def test_writing_to_a_photograph_changes_neither_the_entry_nor_other_readers(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns of tensors over read-only memory
            read = cache.read(path, "whole", read_photo)
        other = cache.read(path, "whole", never)
        read.zero_()
        assert torch.equal(other, pixels("photo"))
    assert torch.equal(cache.read(path, "whole", never), pixels("photo"))


def test_a_square_and_the_whole_photograph_are_two_entries(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    whole = cache.read(path, "whole", read_photo)
    square = cache.read(path, "square 8", lambda path: Resize(square=8)(read_photo(path)))
    assert torch.equal(cache.read(path, "whole", never), whole)
    assert torch.equal(cache.read(path, "square 8", never), square)
    assert len(entries(tmp_path / "cache")) == 2


def test_copies_share_an_entry_and_a_new_name_needs_none(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    cache.read(path, "whole", read_photo)
    copy = Path(shutil.copy(path, tmp_path / "copy.png"))
    assert torch.equal(cache.read(copy, "whole", never), pixels("photo"))
    renamed = path.rename(tmp_path / "renamed.png")
    assert torch.equal(cache.read(renamed, "whole", never), pixels("photo"))
    assert len(entries(tmp_path / "cache")) == 1


def test_a_changed_file_is_decoded_again_and_the_old_content_is_still_known(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png", "one"), PhotoCache(tmp_path / "cache")
    cache.read(path, "whole", read_photo)
    photo(path, "other")
    assert torch.equal(cache.read(path, "whole", read_photo), pixels("other"))
    photo(path, "one")
    assert torch.equal(cache.read(path, "whole", never), pixels("one"))


def test_a_file_replaced_by_one_of_its_length_and_date_is_decoded_again(tmp_path: Path) -> None:
    # BMP: the length does not depend on what is in the picture
    first, second = tmp_path / "first.bmp", tmp_path / "second.bmp"
    for path, grey in ((first, 10), (second, 200)):
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
        os.utime(path, ns=(10**18, 10**18))
    cache = PhotoCache(tmp_path / "cache")
    assert cache.read(first, "whole", read_photo).unique().tolist() == [10]
    second.replace(first)
    assert cache.read(first, "whole", read_photo).unique().tolist() == [200]


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png", "one"), PhotoCache(tmp_path / "cache")

    def overtaken(path: Path) -> Tensor:
        return read_photo(photo(path, "other"))

    assert torch.equal(cache.read(path, "whole", overtaken), pixels("other"))
    assert not entries(tmp_path / "cache")
    photo(path, "one")
    assert torch.equal(cache.read(path, "whole", read_photo), pixels("one"))


def test_from_the_second_epoch_on_sources_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [photo(tmp_path / f"{i}.png", str(i)) for i in range(3)]
    cache = PhotoCache(tmp_path / "cache")
    for path in paths:
        cache.read(path, "whole", read_photo)
    monkeypatch.setattr(cache_module, "content_key", never)  # what reads a source that is not decoded
    for path in paths:
        assert torch.equal(cache.read(path, "whole", never), pixels(path.stem))
        in_worker = pickle.loads(pickle.dumps(cache))
        assert torch.equal(in_worker.read(path, "whole", never), pixels(path.stem))
    photo(paths[0], "other")
    with pytest.raises(AssertionError, match=r"0\.png"):
        cache.read(paths[0], "whole", never)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:50],
        lambda content: content[:128],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"\0" * len(content),
        lambda content: bytes(128) + content[128:],
        lambda content: content.replace(b"(3, 40, 60)", b"(3, 60, 40)").replace(b"NUMPY", b"numpy"),
        lambda content: content.replace(b"(3, 40, 60)", b"(3, 41, 60)"),
        lambda content: content.replace(b"'|u1'", b"'|i1'"),
        lambda content: content.replace(b"False", b"True "),
        lambda content: b"PK\x03\x04" + content[4:],
        lambda content: bytes(range(256)) * 32,
    ],
    ids=[
        "empty",
        "half a header",
        "header alone",
        "cut off",
        "too long",
        "zeros",
        "zeros header",
        "other magic",
        "other shape",
        "other type",
        "other order",
        "another format",
        "garbage",
    ],
)
def test_a_damaged_entry_is_noticed_and_made_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    cache.read(path, "whole", read_photo)
    (entry,) = entries(tmp_path / "cache")
    whole = entry.read_bytes()
    assert damage(whole) != whole
    entry.write_bytes(damage(whole))
    assert torch.equal(cache.read(path, "whole", read_photo), pixels("photo"))
    assert entry.read_bytes() == whole
    assert torch.equal(cache.read(path, "whole", never), pixels("photo"))


def test_what_cannot_be_decoded_says_so_each_time_and_leaves_nothing(tmp_path: Path) -> None:
    torn = photo(tmp_path / "torn.png")
    torn.write_bytes(torn.read_bytes()[:200])
    (tmp_path / "folder.png").mkdir()
    reader = PhotoReader(cache=PhotoCache(tmp_path / "cache"))
    for path in (torn, tmp_path / "missing.png", tmp_path / "folder.png"):
        with pytest.raises(UnreadablePhoto) as expected:
            read_photo(path)
        for _ in range(2):
            with pytest.raises(UnreadablePhoto) as found:
                reader(path)
            assert str(found.value) == str(expected.value)
    assert not (tmp_path / "cache").exists()


def test_a_file_that_is_gone_when_it_is_decoded_says_nothing_about_the_folder(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")

    def last(path: Path) -> Tensor:
        read = read_photo(path)
        path.unlink()
        return read

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(cache.read(path, "whole", last), pixels("photo"))
    cache.read(photo(path), "whole", read_photo)
    assert len(entries(tmp_path / "cache")) == 1


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_a_folder_that_cannot_be_made_is_named_once_and_stops_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    cache = PhotoCache(tmp_path / "file" if place == "a file" else tmp_path / "file" / "cache")
    paths = [photo(tmp_path / f"{i}.png", str(i)) for i in range(3)]
    with pytest.warns(UserWarning, match="decoded photographs") as caught:
        read = [cache.read(path, "whole", read_photo) for path in paths * 2]
    assert all(torch.equal(one, pixels(path.stem)) for one, path in zip(read, paths * 2, strict=True))
    (message,) = [str(one.message) for one in caught]
    assert str(cache.folder) in message
    assert "data.cache_dir=DIR" in message
    assert (tmp_path / "file").read_bytes() == b"mine"


READS_ALL = """
import os, resource, sys, warnings
from pathlib import Path
import torch
from relit.data.cache import PhotoCache
from relit.data.photo import read_photo
prepare, where = sys.argv[1:]
os.chdir(where)
photos = {path: read_photo(path) for path in sorted(Path("photos").iterdir())}
exec(prepare)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for path in [*photos] * 2:
        assert torch.equal(PhotoCache("cache").read(path, "whole", read_photo), photos[path]), path
print(*(one.message for one in caught), sep="\\n", end="")
"""
"""Reads ``photos`` twice through ``cache``, both below the folder it is given, and prints the warnings."""


@pytest.mark.skipif(os.name != "posix", reason="folders are read-only by their permissions")
def test_a_read_only_folder_is_read_and_named_once(tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "cache"
    PhotoCache(folder).read(photo(photos / "0.png", "0"), "whole", read_photo)
    before = entries(folder)
    for number in (1, 2):
        photo(photos / f"{number}.png", str(number))
    folders = [folder, *(path for path in folder.iterdir())]
    for path in folders:
        path.chmod(0o555)
    tmp_path.chmod(0o755)
    try:
        # permissions do not stop root, who becomes somebody else
        said = reads_all("os.geteuid() or os.seteuid(65534)", tmp_path)
    finally:
        for path in folders:
            path.chmod(0o755)
    assert len(said) == 1
    assert "permission denied" in said[0]
    assert "no more decoded photographs can be kept in cache" in said[0]
    assert entries(folder) == before


def test_a_full_disk_is_named_once_and_leaves_whole_entries_only(tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "cache"
    photo(photos / "0.png")
    PhotoCache(folder).read(photos / "0.png", "whole", read_photo)
    write_png(photos / "1.png", pixels("small", 4, 5))
    write_png(photos / "2.png", pixels("large", 80, 90))
    write_png(photos / "3.png", pixels("also small", 5, 4))
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))"
    said = reads_all(limit, tmp_path)
    assert len(said) == 1
    assert "no more decoded photographs can be kept in cache" in said[0]
    assert "Free space" in said[0]
    kept = entries(folder)
    assert [path.suffix for path in kept] == [".npy", ".npy"]  # of 0 and 1: after 2 no write is tried
    cache = PhotoCache(folder)
    for name in ("0.png", "1.png"):
        assert torch.equal(cache.read(photos / name, "whole", never), read_photo(photos / name))
    cache.read(photos / "2.png", "whole", read_photo)
    assert torch.equal(cache.read(photos / "2.png", "whole", never), pixels("large", 80, 90))


def test_two_processes_fill_one_folder(tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "cache"
    for number in range(12):
        photo(photos / f"{number}.png", str(number))
    with ThreadPoolExecutor() as pool:
        warned = list(pool.map(lambda _: reads_all("", tmp_path), range(2)))
    assert warned == [[], []]
    assert len(entries(folder)) == 12
    for path in photos.iterdir():
        assert torch.equal(PhotoCache(folder).read(path, "whole", never), pixels(path.stem))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_write_and_read_the_same_folder(tmp_path: Path, start: str) -> None:
    paths = [photo(tmp_path / f"{i}.png", str(i)) for i in range(4)]
    photos = PhotoSet(paths, PhotoReader(Resize(square=16), PhotoCache(tmp_path / "cache")))
    loader = DataLoader(
        photos, batch_size=2, num_workers=2, multiprocessing_context=start, persistent_workers=True
    )
    uncached = PhotoSet(paths, PhotoReader(Resize(square=16)))
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), torch.stack([uncached[i] for i in range(4)]))
    cache = pickle.loads(pickle.dumps(photos)).reader.cache
    for path, expected in zip(paths, uncached, strict=True):
        assert torch.equal(cache.read(path, "square 16", never), expected)


def test_names_with_spaces_letters_of_any_language_and_links(tmp_path: Path) -> None:
    cache = PhotoCache(tmp_path / "décodées 画像")
    named = photo(tmp_path / "mes photos" / "été à 北京 (2).PNG")
    link = tmp_path / "link.png"
    link.symlink_to(named)
    assert torch.equal(cache.read(link, "whole", read_photo), pixels("photo"))
    assert torch.equal(cache.read(named, "whole", never), pixels("photo"))
    photo(named, "other")  # the link stays, what it leads to changes
    assert torch.equal(cache.read(link, "whole", read_photo), pixels("other"))


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux tells what is mapped")
def test_photographs_hold_no_files_and_let_go_of_their_memory(tmp_path: Path) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    cache.read(path, "whole", read_photo)

    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text()
        return len(list(Path("/proc/self/fd").iterdir())), maps.count(str(tmp_path / "cache"))

    before = held()
    many = [cache.read(path, "whole", never) for _ in range(30)]
    assert held() == (before[0], before[1] + 30)
    crop = many[0][:, 3:9, 5:11]
    del many
    assert held()[1] == before[1] + 1
    assert torch.equal(crop, pixels("photo")[:, 3:9, 5:11])
    del crop
    assert held() == before


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="only Linux tells what is in memory")
def test_a_crop_reads_the_pages_that_it_needs(tmp_path: Path) -> None:
    write_png(tmp_path / "large.png", pixels("large", 1000, 1000))
    cache = PhotoCache(tmp_path / "cache")
    cache.read(tmp_path / "large.png", "whole", read_photo)
    mapped = cache.read(tmp_path / "large.png", "whole", never)
    crop = mapped[0, :4].clone()
    touched = _resident(tmp_path / "cache")
    assert torch.equal(crop, pixels("large", 1000, 1000)[0, :4])
    assert 0 < touched < mapped.numel() // 4
    assert mapped.sum() == pixels("large", 1000, 1000).sum()
    assert _resident(tmp_path / "cache") >= mapped.numel()


def _resident(folder: Path) -> int:
    """Bytes in memory of what this process maps below ``folder``."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if str(folder) in line)
    rss = next(line for line in lines[start:] if line.startswith("Rss:"))
    return int(rss.split()[1]) * 1024


def test_a_new_decoder_does_not_read_what_an_old_one_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = photo(tmp_path / "photo.png"), PhotoCache(tmp_path / "cache")
    cache.read(path, "whole", read_photo)
    monkeypatch.setattr(cache_module, "_DECODER_VERSION", "new")
    decode = Counting()
    cache.read(path, "whole", decode)
    assert decode.decoded == ["photo.png"]
