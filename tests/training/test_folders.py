"""One's own pictures come as they are meant: upright, RGB, with their captions, and none too broken to be skipped."""

import io
import logging
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.folders import DataError, FolderData, decode

RED, BLUE = (220, 20, 20), (20, 20, 220)


def paint(path: Path, size: tuple[int, int] = (40, 30), colour: tuple[int, int, int] = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def captions(data: FolderData) -> dict[str, str | None]:
    return {item.name: item.caption for item in data.items}


def test_captions_come_from_text_files_and_tables_and_text_files_win(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "deep/c.webp", "d.png"):
        paint(tmp_path / name)
    (tmp_path / "a.txt").write_text("a red square\n", encoding="utf-8")
    (tmp_path / "words.csv").write_text('file,caption\na.png,no\nb.jpg,"red, once more"\n', encoding="utf-8-sig")
    (tmp_path / "deep" / "more.csv").write_text("caption,file\nred below,c.webp\n")
    data = FolderData(tmp_path)
    told = {"a.png": "a red square", "b.jpg": "red, once more", "deep/c.webp": "red below", "d.png": None}
    assert captions(data) == told
    assert [item.name for item in data.captioned().items] == ["a.png", "b.jpg", "deep/c.webp"]


def test_tar_shards_give_each_key_its_picture_and_caption(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard-0.tar", "w") as shard:
        for name, content in (
            ("one.png", encoded(Image.new("RGB", (8, 6), RED), "PNG")),
            ("one.txt", b"red"),
            ("two.txt", b"blue"),
            ("two.jpg", encoded(Image.new("RGB", (6, 8), BLUE), "JPEG")),
            ("two.json", b"{}"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    data = FolderData(tmp_path)
    assert captions(data) == {"shard-0.tar/one.png": "red", "shard-0.tar/two.jpg": "blue"}
    shown = {item.name: picture for item, picture in data}
    assert shown["shard-0.tar/one.png"].shape == (3, 6, 8)
    assert tuple(shown["shard-0.tar/one.png"][:, 0, 0].tolist()) == RED
    assert shown["shard-0.tar/two.jpg"][2].float().mean() > 200


def test_a_shard_that_breaks_off_gives_what_comes_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        for i in range(3):
            content = encoded(Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 40, 3), np.uint8)), "PNG")
            entry = tarfile.TarInfo(f"{i}.png")
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    whole = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[: 3 * 512])
    with caplog.at_level(logging.WARNING):
        data = FolderData(tmp_path)
        assert len(list(data)) == 0  # the first one's bytes are cut too
    assert "s.tar breaks off" in caplog.text


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "1", "I;16"])
def test_every_kind_of_picture_becomes_eight_bit_rgb(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 5), 200 * 257, np.uint16))
        expected = 200
    else:
        image, expected = Image.new("L", (5, 4), 255).convert("RGB").convert(mode), 255
    picture = decode(encoded(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert (picture.shape, picture.dtype) == ((3, 4, 5), torch.uint8)
    assert (picture - expected).abs().max() == 0


def test_what_is_transparent_is_white_and_not_black() -> None:
    clear = decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"))
    assert clear.min() == 255
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert decode(encoded(palette, "PNG", transparency=0)).min() == 255


def test_a_photograph_taken_sideways_stands_upright() -> None:
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    picture = decode(encoded(image, "JPEG", exif=exif))
    assert picture.shape == (3, 40, 20)
    assert picture[2, :15].float().mean() > 150 > picture[2, 25:].float().mean()


def test_broken_pictures_are_named_once_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paint(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes(encoded(Image.new("RGB", (300, 300), RED), "PNG")[:90])
    (tmp_path / "words.jpg").write_text("no picture")
    data = FolderData(tmp_path)
    rng = random.Random(0)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            data.random_crop(rng, 8, 8)
    assert [item.name for item in data.items] == ["good.png"]
    assert caplog.text.count("cut.png") == 1
    assert caplog.text.count("words.jpg is left out") == 1


def test_a_folder_without_a_readable_picture_is_an_error_naming_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path} holds no pictures"):
        FolderData(tmp_path)
    with pytest.raises(DataError, match="nowhere is not a folder"):
        FolderData(tmp_path / "nowhere")
    (tmp_path / "a.png").write_bytes(b"")
    data = FolderData(tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path}: none of the 1 pictures has a caption"):
        data.captioned()
    with pytest.raises(DataError, match=f"{tmp_path}: no picture can be read"):
        data.random_crop(random.Random(0), 8, 8)


def test_crops_are_where_they_say_at_any_scale_and_mirrored(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:120, 0:200]
    image = np.stack([columns, rows * 2, np.zeros_like(rows)], -1).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    data, rng, mirrored = FolderData(tmp_path), random.Random(1), 0
    for _ in range(40):
        crop, (top, bottom, left, right), _, whole = data.random_crop(rng, 32, 48)
        assert (crop.shape, crop.dtype) == ((3, 32, 48), torch.uint8)
        assert 0 <= top < bottom <= 1
        assert 0 <= left < right <= 1
        assert crop[1].float().mean() == pytest.approx((top + bottom) / 2 * 240, abs=3)
        across = (left + right) / 2
        flipped = bool(crop[0, 0, 0] > crop[0, 0, -1])
        assert flipped == bool(whole[0, 0, 0] > whole[0, 0, -1])
        mirrored += flipped
        assert crop[0].float().mean() == pytest.approx((1 - across if flipped else across) * 200, abs=3)
    assert 5 < mirrored < 35  # odds of a false alarm: below 1e-6


def test_a_picture_smaller_than_the_crop_is_enlarged(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", (10, 20))
    crop, place, _, whole = FolderData(tmp_path).random_crop(random.Random(0), 64, 64)
    assert crop.shape == (3, 64, 64)
    assert whole.shape == (3, 20, 10)
    assert place[2:] == (0, 1)


def test_sources_of_a_table_are_held_out_as_a_whole(tmp_path: Path) -> None:
    rows = ["file,source_repo"]
    for source in "abcde":
        for i in range(3):
            paint(tmp_path / f"{source}{i}.png", (4, 4))
            rows.append(f"{source}{i}.png,owner/{source}")
    (tmp_path / "SOURCES.csv").write_text("\n".join(rows))
    data = FolderData(tmp_path)
    kept = {item.name for item in data.split(held_out=True).items}
    assert {name[0] for name in kept} == {"a", "e"}  # every fourth
    assert len(kept) == 6
    assert {item.name for item in data.split(held_out=False).items} | kept == {item.name for item in data.items}


def test_without_sources_one_in_twenty_is_held_out_and_more_pictures_change_no_ones_side(tmp_path: Path) -> None:
    for i in range(120):
        paint(tmp_path / f"{i}.png", (2, 2))
    held = {item.name for item in FolderData(tmp_path).split(held_out=True).items}
    assert 1 <= len(held) <= 15
    for i in range(120, 160):
        paint(tmp_path / f"{i}.png", (2, 2))
    later = {item.name for item in FolderData(tmp_path).split(held_out=True).items}
    assert held <= later


def test_one_picture_is_too_few_to_hold_one_out(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    with pytest.raises(DataError, match="too few pictures"):
        FolderData(tmp_path).split(held_out=False)


def test_the_cache_keeps_the_latest_pictures_and_not_more_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        paint(tmp_path / f"{i}.png", (512, 512))  # 0.75 MiB each
    data = FolderData(tmp_path, cache_mb=2)
    reads: list[str] = []
    read = type(data.items[0]).read
    monkeypatch.setattr(type(data.items[0]), "read", lambda item: reads.append(item.name) or read(item))
    for number in (0, 1, 0, 2, 0, 3, 0, 1):
        data.picture(data.items[number])
    assert reads == ["0.png", "1.png", "2.png", "3.png", "1.png"]
