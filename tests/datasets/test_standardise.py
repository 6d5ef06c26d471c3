import pytest
import torch

from deepcollapse.datasets import as_dataset, load, standardise_channels, standardise_pixels
from deepcollapse.errors import OptionError, ShapeError


def images(count: int = 1500) -> torch.Tensor:
    made = torch.randint(0, 256, (count, 2, 3, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made[:, :, 0, 0] = 0  # a pixel that never varies
    return made


def all_of(dataset) -> torch.Tensor:
    return torch.cat([x for x, _ in dataset.batches(700)])


def test_pixels_against_the_definition():
    raw = images()
    train, other = standardise_pixels(as_dataset(raw, [0] * 1500), as_dataset(raw[:5], [0] * 5))
    scaled = raw.double() / 255
    std = scaled.std(0, correction=0)
    std[std == 0] = 1
    expected = (scaled - scaled.mean(0)) / std
    torch.testing.assert_close(all_of(train), expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(all_of(other), expected[:5].float(), rtol=1e-5, atol=1e-5)
    assert (all_of(train)[:, :, 0, 0] == 0).all()


def test_channels_against_the_definition():
    raw = images()
    (train,) = standardise_channels(as_dataset(raw, [0] * 1500))
    scaled = raw.double() / 255
    mean, std = scaled.mean((0, 2, 3), keepdim=True), scaled.std((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(all_of(train), ((scaled - mean) / std).float(), rtol=1e-5, atol=1e-5)


def test_far_from_zero_no_digit_is_lost():
    raw = torch.randn(5000, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1e-2 + 100
    (train,) = standardise_pixels(as_dataset(raw.float(), [0] * 5000))
    assert (all_of(train).std(0, correction=0) - 1).abs().max() < 1e-3


def test_the_transform_follows_subsets_and_leaves_the_digest():
    plain = load("digits")
    (train,) = standardise_pixels(plain)
    assert train.digest == plain.digest
    assert torch.equal(all_of(train.select(range(10))), all_of(train)[:10])


def test_what_cannot_be_standardised():
    plain = load("digits")
    (train,) = standardise_pixels(plain)
    with pytest.raises(OptionError) as error:
        standardise_channels(train)
    assert str(error.value) == "digits (train) has a transform already; standardise the data it came from."
    with pytest.raises(ShapeError) as shape_error:
        standardise_pixels(plain, as_dataset(torch.zeros(2, 1, 4, 4), [0, 1]))
    assert str(shape_error.value) == (
        "data (train) has images of shape (1, 4, 4), the training images are (1, 8, 8); both must be the same."
    )
