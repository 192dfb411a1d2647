"""Finding, dividing and decoding data sets, on real images and on folders that are wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from nat_deploy.data import DataSplits, ImageSet, Normalisation, load_data
from nat_deploy.errors import DataSetError, InputError, WorkError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """`make_folder({"cat": 3, "dog": 2})`: class folders with so many small images, each of its own colour."""

    def make(classes: dict[str, int], *, below: str = "") -> Path:
        folder = tmp_path / "set"
        for label, (name, count) in enumerate(classes.items()):
            (folder / below / name).mkdir(parents=True)
            for number in range(count):
                colour = (40 * label + 10, 5 * number + 3, len(below))
                Image.new("RGB", (16, 16), colour).save(folder / below / name / f"{number}.png")
        return folder

    return make


def rows(image_set: ImageSet | None) -> set[bytes]:
    assert image_set is not None
    return {image.numpy().tobytes() for image in image_set.images}


def shares(image_set: ImageSet, num_classes: int) -> list[int]:
    return torch.bincount(image_set.labels, minlength=num_classes).tolist()


class TestRealImages:
    def test_flowers(self, flowers_dir: Path, cache: Path) -> None:
        data = load_data(flowers_dir, image_size=32, seed=0, cache_dir=cache)
        assert (data.name, data.class_names) == ("flowers5", ("daisy", "dandelion", "rose", "sunflower", "tulip"))
        assert data.test is not None
        assert (len(data.train), len(data.val), len(data.test)) == (90, 10, 100)
        assert shares(data.train, 5) == [18] * 5
        assert shares(data.val, 5) == [2] * 5
        assert not rows(data.train) & rows(data.val)
        assert not rows(data.test) & (rows(data.train) | rows(data.val))
        assert data.train.normalisation == data.val.normalisation == data.test.normalisation
        assert all(0.2 < mean < 0.6 for mean in data.normalisation.mean)

    def test_cifar10_pixels_are_those_of_the_files(self, cifar10_dir: Path, cache: Path) -> None:
        data = load_data(cifar10_dir, image_size=32, seed=0, cache_dir=cache)
        assert data.test is not None
        files = sorted((cifar10_dir / "test").rglob("*.webp"), key=lambda path: (path.parent.name, path.name))
        expected = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in files]).transpose(0, 3, 1, 2)
        assert np.array_equal(data.test.images.numpy(), expected)
        assert [data.class_names[label] for label in data.test.labels] == [path.parent.name for path in files]

    def test_digits(self, cache: Path) -> None:
        data = load_data("digits", image_size=32, seed=0, cache_dir=cache)
        assert data.test is not None
        assert (len(data.train), len(data.val), len(data.test)) == (1295, 143, 359)
        assert data.class_names == tuple("0123456789")
        assert not data.augmentation.mirror
        assert torch.equal(data.train.images[:, 0], data.train.images[:, 2])  # grey
        other = load_data("digits", image_size=32, seed=1, cache_dir=cache)
        assert other.test is not None
        assert torch.equal(other.test.images, data.test.images)  # the test part does not depend on the seed
        assert not torch.equal(other.val.images, data.val.images)


class TestDivision:
    def test_val_and_test_folders_are_used_as_they_are(self, make_folder: Callable[..., Path], cache: Path) -> None:
        make_folder({"a": 4, "b": 4}, below="train")
        make_folder({"a": 2, "b": 3}, below="val")
        folder = make_folder({"a": 1, "b": 0}, below="test")
        data = load_data(folder, image_size=16, seed=0, cache_dir=cache)
        assert data.test is not None
        assert [shares(part, 2) for part in (data.train, data.val, data.test)] == [[4, 4], [2, 3], [1, 0]]

    def test_without_a_test_folder_there_is_no_test_part(self, make_folder: Callable[..., Path], cache: Path) -> None:
        make_folder({"a": 4, "b": 4}, below="train")
        folder = make_folder({"a": 2, "b": 3}, below="valid")
        data = load_data(folder, image_size=16, seed=0, cache_dir=cache)
        assert data.test is None
        assert shares(data.val, 2) == [2, 3]

    def test_class_folders_alone_are_divided_in_three(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 20, "b": 10, "c": 3})
        data = load_data(folder, image_size=16, seed=0, val_share=0.2, cache_dir=cache)
        assert data.test is not None
        parts = [data.train, data.val, data.test]
        assert [shares(part, 3) for part in parts] == [[13, 6, 1], [3, 2, 1], [4, 2, 1]]
        assert len(set.union(*map(rows, parts))) == 33  # nothing is lost, nothing is there twice

    def test_the_seed_decides(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 30, "b": 30})

        def load(seed: int) -> DataSplits:
            return load_data(folder, image_size=16, seed=seed, cache_dir=cache)

        assert torch.equal(load(0).train.images, load(0).train.images)
        assert rows(load(0).val) != rows(load(1).val)

    def test_max_train_keeps_shares_and_the_other_parts(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 40, "b": 20, "c": 2})
        full = load_data(folder, image_size=16, seed=0, cache_dir=cache)
        data = load_data(folder, image_size=16, seed=0, cache_dir=cache, max_train=13)
        assert sum(shares(data.train, 3)) == 13
        assert shares(data.train, 3) == pytest.approx([8, 4, 1], abs=1)
        assert rows(data.train) < rows(full.train)
        assert rows(data.val) == rows(full.val)

    def test_a_class_may_be_called_train(self, make_folder: Callable[..., Path], cache: Path) -> None:
        data = load_data(make_folder({"bus": 5, "train": 5}), image_size=16, seed=0, cache_dir=cache)
        assert data.class_names == ("bus", "train")


class TestDecoding:
    def load(self, folder: Path, cache: Path, size: int = 16) -> ImageSet:
        return load_data(folder, image_size=size, seed=0, cache_dir=cache).train

    def test_shorter_side_fits_and_the_centre_stays(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 0, "b": 3}, below="train")
        wide = np.zeros((16, 48, 3), dtype=np.uint8)
        wide[:, 16:32] = (10, 20, 30)
        for number in range(3):
            Image.fromarray(wide).save(folder / "train" / "a" / f"{number}.png")
        images = self.load(folder, cache)
        assert {tuple(pixel) for pixel in images.images[0, :, 4:12, 4:12].flatten(1).T.tolist()} == {(10, 20, 30)}

    @pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16", "LA"])
    def test_every_mode_becomes_rgb(self, make_folder: Callable[..., Path], cache: Path, mode: str) -> None:
        folder = make_folder({"a": 2, "b": 2}, below="train")
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new(mode, (20, 30)).save(folder / "train" / "a" / f"x.{suffix}")
        assert self.load(folder, cache).images.shape[1:] == (3, 16, 16)

    def test_photographs_are_turned_as_the_camera_says(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 0, "b": 3}, below="train")
        image = Image.fromarray(np.repeat(np.array([[0, 255]], dtype=np.uint8), 8, axis=0).repeat(8, axis=1))
        exif = Image.Exif()  # the image is black on the left, white on the right
        exif[0x0112] = 6  # the top of the scene is on the right
        for number in range(3):
            image.save(folder / "train" / "a" / f"{number}.png", exif=exif)
        turned = self.load(folder, cache).images[0, 0].float()
        assert turned[:4].mean() < 30
        assert turned[-4:].mean() > 225

    def test_other_files_are_no_images(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 3, "b": 3})
        (folder / "a" / "notes.txt").write_text("x")
        (folder / "a" / "._0.png").write_text("x")
        (folder / "README.md").write_text("x")
        (folder / ".git").mkdir()
        assert len(self.load(folder, cache)) == 2

    def test_given_normalisation_is_kept(self, make_folder: Callable[..., Path], cache: Path) -> None:
        given = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        data = load_data(make_folder({"a": 3, "b": 3}), image_size=16, seed=0, cache_dir=cache, normalisation=given)
        assert data.normalisation == data.val.normalisation == given


class TestCache:
    def test_images_are_decoded_once(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 9, "b": 9})
        calls: list[tuple[int, int]] = []

        def load() -> DataSplits:
            calls.clear()
            return load_data(
                folder, image_size=16, seed=0, cache_dir=cache, progress=lambda done, total: calls.append((done, total))
            )

        first = load()
        assert calls == [(14, 14), (2, 2), (2, 2)]
        assert rows(load().train) == rows(first.train)
        assert calls == []
        Image.new("RGB", (16, 16), "white").save(folder / "a" / "0.png")  # changed, so another entry
        load()
        assert calls != []

    @pytest.mark.parametrize("damage", ["flip", "truncate", "facts", "no facts", "empty"])
    def test_a_damaged_entry_is_made_again(self, make_folder: Callable[..., Path], cache: Path, damage: str) -> None:
        folder = make_folder({"a": 9, "b": 9})
        expected = rows(load_data(folder, image_size=16, seed=0, cache_dir=cache).train)
        for array in (cache / "images").glob("*.npy"):
            content = bytearray(array.read_bytes())
            match damage:
                case "flip":
                    content[200] ^= 1
                    array.write_bytes(content)
                case "truncate":
                    array.write_bytes(content[:-1])
                case "empty":
                    array.write_bytes(b"")
                case "facts":
                    array.with_suffix(".json").write_text("{")
                case "no facts":
                    array.with_suffix(".json").unlink()
        assert rows(load_data(folder, image_size=16, seed=0, cache_dir=cache).train) == expected

    def test_the_cache_stays_when_loaded_images_are_written_to(self, make_folder: Callable[..., Path], cache: Path) -> None:
        folder = make_folder({"a": 9, "b": 9})
        data = load_data(folder, image_size=16, seed=0, cache_dir=cache)
        before = rows(data.train)
        data.train.images[:] = 0
        assert rows(load_data(folder, image_size=16, seed=0, cache_dir=cache).train) == before

    def test_a_cache_that_cannot_be_made(self, make_folder: Callable[..., Path], tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match="must be a place that can be written"):
            load_data(make_folder({"a": 3, "b": 3}), image_size=16, seed=0, cache_dir=tmp_path / "file")


class TestRefusals:
    def refuse(self, folder: Path | str, cache: Path, sentence: str, **settings: int) -> None:
        with pytest.raises(DataSetError, match=sentence):
            load_data(folder, image_size=16, seed=0, cache_dir=cache, max_train=settings.get("max_train"))

    def test_no_such_folder(self, tmp_path: Path, cache: Path) -> None:
        self.refuse(tmp_path / "nowhere", cache, "'.*nowhere' is not a folder")
        self.refuse(str(tmp_path / "nowhere"), cache, "'.*nowhere' is not a folder")

    def test_unknown_name(self, cache: Path) -> None:
        self.refuse("cifar11", cache, "one of digits, aircraft, cifar10, .*, but 'cifar11' is neither")

    def test_cars(self, cache: Path) -> None:
        self.refuse("cars", cache, "'cars' must be fetched by hand")

    def test_empty(self, tmp_path: Path, cache: Path) -> None:
        self.refuse(tmp_path, cache, "at least 2 class folders, but it has none")

    def test_one_class(self, make_folder: Callable[..., Path], cache: Path) -> None:
        self.refuse(make_folder({"cat": 3}), cache, "at least 2 class folders, but it has only 'cat'")

    def test_a_class_without_images(self, make_folder: Callable[..., Path], cache: Path) -> None:
        self.refuse(make_folder({"a": 3, "b": 0}), cache, "class folder '.*b' must hold images .* but has none")

    @pytest.mark.parametrize(
        ("classes", "sentence"), [({"a": 1, "c": 1}, "'b' is missing"), ({"a": 1, "b": 1, "c": 1}, "'c' is there, but")]
    )
    @pytest.mark.parametrize("part", ["val", "test"])
    def test_classes_that_do_not_match(
        self, make_folder: Callable[..., Path], cache: Path, part: str, classes: dict[str, int], sentence: str
    ) -> None:
        make_folder({"a": 3, "b": 3}, below="train")
        self.refuse(make_folder(classes, below=part), cache, f"the class folders of 'train', but {sentence}")

    def test_a_part_without_images(self, make_folder: Callable[..., Path], cache: Path) -> None:
        make_folder({"a": 3, "b": 3}, below="train")
        self.refuse(make_folder({"a": 0, "b": 0}, below="test"), cache, "test' must hold images, but it holds none")

    def test_no_train_folder(self, make_folder: Callable[..., Path], cache: Path) -> None:
        self.refuse(make_folder({"a": 3, "b": 3}, below="test"), cache, "must have a folder 'train' with classes beside 'test'")

    def test_one_image_a_class(self, make_folder: Callable[..., Path], cache: Path) -> None:
        self.refuse(make_folder({"a": 1, "b": 1}), cache, "but no class has 2 left to divide")

    def test_fewer_images_than_classes(self, make_folder: Callable[..., Path], cache: Path) -> None:
        self.refuse(
            make_folder({"a": 9, "b": 9, "c": 9}), cache, "an image of each of 3 classes, but may use only 2", max_train=2
        )

    @pytest.mark.parametrize("damage", ["truncated", "text", "empty", "link"])
    def test_an_unreadable_image_is_named(self, flowers_dir: Path, tmp_path: Path, cache: Path, damage: str) -> None:
        folder = shutil.copytree(flowers_dir, tmp_path / "flowers")
        image = sorted((folder / "train" / "rose").iterdir())[3]
        match damage:
            case "truncated":
                image.write_bytes(image.read_bytes()[:1500])
            case "text":
                image.write_text("no image at all")
            case "empty":
                image.write_bytes(b"")
            case "link":
                image.unlink()
                image.symlink_to("nowhere.jpg")
        self.refuse(folder, cache, f"every image must be readable, but .*{image.name} is not .*; repair or delete it")
        assert not list(cache.rglob("*.tmp"))

    @pytest.mark.parametrize(("size", "share"), [(4, 0.1), (5000, 0.1), (32, 0.0), (32, 0.9)])
    def test_settings(self, cache: Path, size: int, share: float) -> None:
        with pytest.raises(InputError, match="must lie"):
            load_data("digits", image_size=size, seed=0, val_share=share, cache_dir=cache)


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_download_that_fails(cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", fail)
    with pytest.raises(WorkError, match=r"'cifar10' could not be downloaded .*; check the connection"):
        load_data("cifar10", image_size=32, seed=0, cache_dir=cache)


def test_a_torchvision_set_is_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flowers102 hides its labels and has a validation part: the awkward case, with a stand-in for the download."""

    class Flowers:
        classes = ("rose", "iris")

        def __init__(self, root: Path, split: str, download: bool) -> None:
            self._labels = [0, 1, 1]
            self.shade = ("train", "val", "test").index(split)

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (20, 20), (self.shade, index, 0)), self._labels[index]

    monkeypatch.setattr("torchvision.datasets.Flowers102", Flowers)
    data = load_data("flowers102", image_size=16, seed=0, cache_dir=cache)
    assert data.test is not None
    assert data.class_names == ("rose", "iris")
    for shade, part in enumerate((data.train, data.val, data.test)):
        assert part.labels.tolist() == [0, 1, 1]
        assert part.images[:, :2, 8, 8].tolist() == [[shade, 0], [shade, 1], [shade, 2]]
