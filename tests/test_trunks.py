"""The network: shapes, folding, pooling against its formula."""

import numpy as np
import pytest
import torch

from copydetect.description.trunks import DescriptorModel, Trunk, gem


@pytest.fixture(scope="module", autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_maps_shrink_by_32_and_have_the_stage_s_channels():
    trunk = Trunk().eval()
    with torch.inference_mode():
        maps = trunk.stages(torch.randn(2, 3, 65, 96))
    assert [m.shape[1] for m in maps] == trunk.channels == [16, 24, 40, 80, 112, 192, 320, 1280]
    assert maps[-1].shape == (2, 1280, 3, 3)


def test_a_narrow_and_shortened_trunk():
    trunk = Trunk(width=0.5, last_stage=4).eval()
    assert trunk.channels == [8, 16, 24, 40, 56]
    assert trunk(torch.randn(1, 3, 64, 64)).shape == (1, 56, 4, 4)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (50, 83)])
def test_folding_batch_norm_keeps_the_vectors(size, fused, monkeypatch):
    if not fused:  # as on processors that oneDNN is not made for
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = DescriptorModel(Trunk(width=0.5), 16, pooled_stages=(4, 7))
    model.train()
    for _ in range(3):  # so that the running statistics are not the initial ones
        model(torch.randn(4, 3, 64, 64))
    model.eval()
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        before = model(images)
        model.fold()
        after = model(images)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after.norm(dim=1), torch.ones(2))


def test_bfloat16_is_the_same_fused_and_not(monkeypatch):
    trunk = Trunk(width=0.5, last_stage=3).eval()
    for layer in trunk.modules():
        if hasattr(layer, "fold"):
            layer.fold()
    images = torch.randn(2, 3, 70, 64).bfloat16()
    with torch.inference_mode():
        fused = trunk.bfloat16()(images)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        torch.testing.assert_close(fused, trunk(images), atol=0.02, rtol=0.02)


def test_gem_is_the_power_mean_of_what_is_positive():
    features = torch.tensor([[[[1.0, 2.0], [3.0, -5.0]]]])
    expected = np.mean([1.0, 8.0, 27.0, 0.0]) ** (1 / 3)
    assert gem(features, 3.0).item() == pytest.approx(expected, rel=1e-5)


def test_gem_with_weights_counts_positions_by_them():
    features = torch.rand(2, 3, 4, 5)
    weights = torch.zeros(2, 4, 5)
    weights[:, 1, 2] = weights[:, 3, 0] = 0.5
    seen = torch.stack([features[:, :, 1, 2], features[:, :, 3, 0]])
    torch.testing.assert_close(gem(features, 3.0, weights), seen.pow(3).mean(dim=0).pow(1 / 3))


def test_attention_starts_from_equal_weights_and_then_tells_places_apart():
    plain = DescriptorModel(Trunk(0.25, last_stage=4), 8, 3.0, (3, 4)).eval()
    attending = DescriptorModel(plain.trunk, 8, 3.0, (3, 4), attends=True).eval()
    maps = [torch.rand(2, channels, 12, 8) for channels in plain.trunk.channels]
    maps[3] = torch.rand(2, plain.trunk.channels[3], 23, 16)
    with torch.inference_mode():
        torch.testing.assert_close(attending.pool(maps), plain.pool(maps), atol=1e-5, rtol=1e-4)
        torch.nn.init.normal_(attending.attention.weight)
        assert not torch.allclose(attending.pool(maps), plain.pool(maps), atol=1e-3)


def test_attention_sums_alike_on_any_number_of_threads():
    model = DescriptorModel(Trunk(), 8, 3.0, (6, 7), attends=True).eval()
    maps = [6 * torch.rand(4, channels, 8, 8) for channels in model.trunk.channels]
    torch.nn.init.normal_(model.attention.weight, std=0.01)
    threads, pooled = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        with torch.inference_mode():
            pooled.append(model.pool(maps))
    torch.set_num_threads(threads)
    assert torch.equal(*pooled)
