"""Batches: pixels placed by hand, and properties of augmentation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nat_deploy.data import (
    Augmentation,
    ImageSet,
    Normalisation,
    batches,
    calibration_batches,
    load_data,
    measure_normalisation,
    normalise,
    training_batch,
)
from nat_deploy.data.augmentation import erase_squares, mix_rectangles, random_colour_matrices, random_crops

NOTHING = Augmentation(crop_area=(1.0, 1.0), crop_ratio=1.0, mirror=False, brightness=0, saturation=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> ImageSet:
    """20 smooth images of 24 x 24 pixels; the label is the index."""
    corners = torch.randint(0, 256, (20, 3, 4, 4), generator=generator(1)).float()
    smooth = torch.nn.functional.interpolate(corners, size=(24, 24), mode="bilinear")
    return ImageSet(images=smooth.to(torch.uint8), labels=torch.arange(20))


def collect(image_set: ImageSet, **settings: object) -> tuple[Tensor, Tensor]:
    parts = list(batches(image_set, batch_size=8, **{"resolution": 24, **settings}))  # type: ignore[arg-type]
    return torch.cat([part for part, _ in parts]), torch.cat([labels for _, labels in parts])


class TestBatches:
    def test_pixels_are_those_of_the_file(self, cifar10_dir: Path, tmp_path: Path) -> None:
        data = load_data(cifar10_dir, image_size=32, seed=0, cache_dir=tmp_path)
        assert data.test is not None
        first = min((cifar10_dir / "test" / "airplane").iterdir())
        pixels = np.asarray(Image.open(first).convert("RGB"), dtype=np.float64).transpose(2, 0, 1) / 255
        mean, std = np.array(data.normalisation.mean)[:, None, None], np.array(data.normalisation.std)[:, None, None]
        batch, labels = next(batches(data.test, batch_size=4, resolution=32))
        assert batch[0].numpy() == pytest.approx((pixels - mean) / std, abs=1e-5)
        assert labels.tolist() == [0] * 4

    def test_one_pixel_by_hand(self) -> None:
        image = torch.tensor([51, 102, 255], dtype=torch.uint8).view(1, 3, 1, 1)
        scale = Normalisation(mean=(0.1, 0.4, 0.5), std=(0.1, 0.2, 0.25))
        out, _ = next(batches(ImageSet(images=image, labels=torch.tensor([0]), normalisation=scale), batch_size=1, resolution=1))
        assert out.flatten().tolist() == pytest.approx([1.0, 0.0, 2.0], abs=1e-6)

    def test_shapes_types_and_memory(self, images: ImageSet) -> None:
        for augmentation in (None, Augmentation(erase_share=0.5)):
            found = list(batches(images, batch_size=8, resolution=16, generator=generator(), augmentation=augmentation))
            assert [len(labels) for _, labels in found] == [8, 8, 4]
            for batch, labels in found:
                assert batch.shape == (len(labels), 3, 16, 16)
                assert (batch.dtype, labels.dtype) == (torch.float32, torch.int64)
                assert batch.is_contiguous(memory_format=torch.channels_last)

    def test_drop_last_keeps_the_only_batch(self, images: ImageSet) -> None:
        assert [len(y) for _, y in batches(images, batch_size=8, resolution=24, drop_last=True)] == [8, 8]
        assert [len(y) for _, y in batches(images, batch_size=64, resolution=24, drop_last=True)] == [20]

    def test_order(self, images: ImageSet) -> None:
        assert collect(images)[1].tolist() == list(range(20))
        shuffled, labels = collect(images, generator=generator(3))
        assert sorted(labels.tolist()) == list(range(20)) != labels.tolist()
        assert torch.equal(shuffled, collect(images)[0][labels])  # labels stay with their images
        assert torch.equal(labels, collect(images, generator=generator(3))[1])
        assert not torch.equal(labels, collect(images, generator=generator(4))[1])

    def test_resizing_keeps_means(self, images: ImageSet) -> None:
        whole, _ = collect(images)
        for resolution in (12, 36):
            small, _ = collect(images, resolution=resolution)
            assert small.mean(dim=(2, 3)).numpy() == pytest.approx(whole.mean(dim=(2, 3)).numpy(), abs=0.05)

    def test_the_set_is_not_changed(self, images: ImageSet) -> None:
        before = images.images.clone()
        collect(images, generator=generator(), augmentation=Augmentation(erase_share=1.0))
        assert torch.equal(images.images, before)

    def test_calibration_batches_are_a_fixed_subset(self, images: ImageSet) -> None:
        def labels(seed: int) -> list[int]:
            return torch.cat(
                [y for _, y in calibration_batches(images, count=9, batch_size=4, resolution=24, seed=seed)]
            ).tolist()

        assert labels(0) == labels(0) != labels(1)
        assert len(set(labels(0))) == 9
        assert sum(len(y) for _, y in calibration_batches(images, count=99, batch_size=7, resolution=24)) == 20

    def test_augmentation_needs_a_generator(self, images: ImageSet) -> None:
        with pytest.raises(ValueError, match="needs a generator"):
            collect(images, augmentation=NOTHING)


class TestNormalisation:
    def test_two_colours_by_hand(self) -> None:
        images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
        images[1, 0], images[:, 1] = 255, 51
        found = measure_normalisation(images)
        assert found.mean == pytest.approx((0.5, 0.2, 0.0))
        assert found.std == pytest.approx((0.5, 1 / 255, 1 / 255), abs=1e-6)  # one colour must not divide by zero

    def test_normalised_training_images_have_mean_0_and_deviation_1(self, images: ImageSet) -> None:
        own = replace(images, normalisation=measure_normalisation(images.images))
        batch, _ = collect(own)
        assert batch.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
        assert batch.std(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)


class TestAugmentation:
    def test_nothing_changes_nothing(self, images: ImageSet) -> None:
        plain, _ = collect(images, generator=generator())
        found, _ = collect(images, generator=generator(), augmentation=NOTHING)
        assert torch.allclose(found[:8], plain[:8], atol=1e-4)

    def test_batches_vary_and_repeat(self, images: ImageSet) -> None:
        settings = Augmentation(contrast=0.3, erase_share=0.5)
        found = [collect(images, generator=generator(seed), augmentation=settings)[0] for seed in (0, 0, 1)]
        assert torch.isfinite(found[0]).all()
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])

    def test_mirror(self, images: ImageSet) -> None:
        plain = images.images.float()
        found = random_crops(plain, 24, replace(NOTHING, mirror=True), generator())
        same = [torch.allclose(a, b, atol=0.05) for a, b in zip(found, plain, strict=True)]
        flipped = [torch.allclose(a, b.flip(2), atol=0.05) for a, b in zip(found, plain, strict=True)]
        assert all(one != other for one, other in zip(same, flipped, strict=True))
        assert 0 < sum(flipped) < 20

    def test_rand_augment_varies_images_one_by_one_and_repeats(self, images: ImageSet) -> None:
        same = ImageSet(images=images.images[:1].repeat(20, 1, 1, 1), labels=images.labels)
        settings = replace(NOTHING, rand_augment=2)
        torch.manual_seed(7)
        first, again, other = (collect(same, generator=generator(seed), augmentation=settings)[0] for seed in (0, 0, 1))
        untouched = torch.rand(1)
        torch.manual_seed(7)
        assert torch.equal(untouched, torch.rand(1)), "torch's own generator must go on as if nothing had happened"
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert len({image.sum().item() for image in first}) > 10

    def test_cutmix_mixes_labels_as_pixels(self) -> None:
        plain = torch.zeros(20, 3, 24, 24)
        plain[::2] = 1.0  # even images are white, odd ones black
        labels = torch.arange(20) % 2
        for seed in range(5):
            mixed, probabilities = mix_rectangles(plain, labels, 3, replace(NOTHING, cutmix_share=1.0), generator(seed))
            assert probabilities.shape == (20, 3)
            torch.testing.assert_close(mixed.mean((1, 2, 3)), probabilities[:, 0])
            torch.testing.assert_close(probabilities.sum(1), torch.ones(20))
        shares = [
            mix_rectangles(plain, labels, 3, replace(NOTHING, cutmix_share=0.3), generator(seed))[1].ndim - 1
            for seed in range(100)
        ]
        assert 15 < sum(shares) < 45

    def test_training_batches_are_mixed(self, images: ImageSet) -> None:
        settings = replace(NOTHING, cutmix_share=1.0)
        _, labels = training_batch(images, resolution=24, generator=generator(), augmentation=settings, num_classes=20)
        assert labels.shape == (20, 20)
        _, labels = training_batch(images, resolution=24, generator=generator(), augmentation=NOTHING, num_classes=20)
        assert sorted(labels.tolist()) == list(range(20))

    def test_crops_stay_inside(self) -> None:
        """On an image whose value is its column, a crop of the share `a` spans `sqrt(a)` of the values, and no others."""
        ramp = torch.arange(64.0).expand(50, 3, 64, 64)
        found = random_crops(ramp, 64, replace(NOTHING, crop_area=(0.25, 0.25)), generator())
        low, high = found[:, 0].amin(dim=(1, 2)), found[:, 0].amax(dim=(1, 2))
        assert (high - low).tolist() == pytest.approx([31.5] * 50, abs=0.51)
        assert low.min() >= 0
        assert high.max() <= 63
        assert low.std() > 5  # everywhere

    def test_crops_of_large_images_are_filtered(self) -> None:
        """Columns of black and white average to grey when four of them become one pixel."""
        stripes = (torch.arange(64) % 2 * 255.0).expand(4, 3, 64, 64)
        found = random_crops(stripes, 16, NOTHING, generator())
        assert found[..., 2:-2].tolist() == pytest.approx(np.full((4, 3, 16, 12), 127.5), abs=12)

    def test_colour_matrices_by_definition(self) -> None:
        """White stays white but for brightness; without saturation every colour becomes grey of its own luma."""
        images = torch.rand(30, 3, 5, 5, generator=generator())
        settings = replace(NOTHING, brightness=0.2, saturation=0.5)
        matrices, offsets = random_colour_matrices(images, settings, generator())
        assert not offsets.any()
        white = matrices @ torch.ones(3, 1)
        assert torch.allclose(white, white[:, :1].expand(-1, 3, 1), atol=1e-6)
        assert 0.8 <= white.min() < 0.9
        assert 1.1 < white.max() <= 1.2
        luma = torch.tensor([0.299, 0.587, 0.114])
        assert torch.allclose(luma @ matrices, luma * white[:, 0], atol=1e-6)  # saturation keeps the luma

    def test_contrast_keeps_the_mean_grey(self) -> None:
        images = torch.rand(30, 3, 5, 5, generator=generator())
        matrices, offsets = random_colour_matrices(images, replace(NOTHING, contrast=0.5), generator())
        out = matrices @ images.flatten(2) + offsets
        luma = torch.tensor([0.299, 0.587, 0.114])
        assert torch.allclose(luma @ out.mean(2).T, luma @ images.mean(dim=(2, 3)).T, atol=1e-5)
        assert (out.flatten(1).std(1) / images.flatten(1).std(1)).std() > 0.1

    def test_erasing_sets_one_square_to_the_mean(self) -> None:
        images = torch.ones(40, 3, 20, 20)
        erase_squares(images, replace(NOTHING, erase_share=0.5, erase_side=0.25), generator())
        erased = (images == 0).sum(dim=(1, 2, 3))
        assert set(erased.tolist()) == {0, 3 * 5 * 5}
        assert 10 < int((erased > 0).sum()) < 30

    @pytest.mark.parametrize(
        "settings",
        [
            {"crop_area": (0.0, 1.0)},
            {"crop_area": (0.9, 0.5)},
            {"crop_ratio": 0.5},
            {"brightness": 2.0},
            {"cutmix_share": 1.5},
            {"rand_augment": -1},
        ],
    )
    def test_settings_are_checked(self, settings: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="must"):
            Augmentation(**settings)  # type: ignore[arg-type]


def test_normalise_by_hand() -> None:
    pixels = torch.full((1, 3, 1, 1), 127.5)
    out = normalise(pixels, Normalisation(mean=(0.5, 0.25, 0.0), std=(1.0, 0.5, 0.25)))
    assert out.flatten().tolist() == pytest.approx([0.0, 0.5, 2.0])


class TestImageSet:
    def test_shapes_are_checked(self) -> None:
        good = {"images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "labels": torch.zeros(2, dtype=torch.int64)}
        for key, value in (
            ("images", torch.zeros(2, 3, 4, 4)),
            ("labels", torch.zeros(3, dtype=torch.int64)),
            ("labels", torch.zeros(2)),
        ):
            arguments: dict[str, Any] = {**good, key: value}
            with pytest.raises(ValueError, match=f"{key} must be"):
                ImageSet(**arguments)

    def test_subset(self, images: ImageSet) -> None:
        part = images.subset(torch.tensor([3, 1]))
        assert (len(part), part.image_size, part.labels.tolist()) == (2, 24, [3, 1])
        assert torch.equal(part.images[0], images.images[3])
