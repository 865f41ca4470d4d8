import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from mdr_tune.backbones import build_backbone
from mdr_tune.backbones.torchvision_models import TorchvisionBackbone, classification_models, remove_head
from mdr_tune.util.errors import UserError

# torch's own count (torchvision 0.29); a new torchvision may bring more, and the test below then tries them too.
AT_LEAST = 80


@contextlib.contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Let modules make parameters without memory or values. (`torch.device("meta")` breaks RegNet's own arithmetic.)"""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, None if parameter is None else nn.Parameter(parameter.detach().to("meta")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "register_parameter", register_on_meta)
        yield


def test_every_classification_model_gives_features_of_the_announced_size() -> None:
    assert len(classification_models()) >= AT_LEAST
    families = set()
    for name in classification_models():
        family = torchvision.models.get_model_builder(name).__module__
        first_of_family = family not in families
        families.add(family)
        with parameters_on_meta():
            backbone = TorchvisionBackbone(name)
        backbone.to("meta").eval()
        for size in {backbone.min_image_size, *([backbone.image_size] if first_of_family else [])}:
            images = torch.empty(2, 3, size, size, dtype=torch.uint8, device="meta")
            assert backbone(backbone.normalize(images)).shape == (2, backbone.feature_size), (name, size)
        if not backbone.fixed_image_size and (below := backbone.min_image_size - 1):
            with pytest.raises(RuntimeError):
                backbone(torch.empty(2, 3, below, below, device="meta"))
        fixed = isinstance(backbone.network, torchvision.models.VisionTransformer | torchvision.models.MaxVit)
        assert backbone.fixed_image_size == fixed, name
        assert getattr(backbone.network, "image_size", backbone.image_size) == backbone.image_size, name
        assert not any(isinstance(module, nn.Linear) and module.out_features == 1000 for module in backbone.modules())


@pytest.mark.parametrize(
    ("name", "head", "size", "image_size", "min_image_size"),
    [
        ("resnet18", "fc", 512, 224, 1),
        ("resnet50", "fc", 2048, 224, 1),
        ("googlenet", "fc", 1024, 224, 15),
        ("vgg11", "classifier.6", 4096, 224, 32),
        ("mobilenet_v3_small", "classifier.3", 1024, 224, 1),
        ("squeezenet1_1", "classifier.1", 512, 224, 17),
        ("inception_v3", "fc", 2048, 299, 75),
        ("maxvit_t", "classifier.5", 512, 224, 224),
        ("efficientnet_v2_s", "classifier.1", 1280, 384, 1),
        ("swin_t", "head", 768, 224, 4),
    ],
)
def test_known_sizes(name: str, head: str, size: int, image_size: int, min_image_size: int) -> None:
    with parameters_on_meta():
        backbone = TorchvisionBackbone(name)
    assert (backbone.head, backbone.feature_size) == (head, size)
    assert (backbone.image_size, backbone.min_image_size) == (image_size, min_image_size)
    assert backbone.fixed_image_size == (name == "maxvit_t")


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "efficientnet_b0", "densenet121", "swin_t"])
def test_features_with_torchvisions_head_are_torchvisions_logits(name: str) -> None:
    model = torchvision.models.get_model(name).eval()
    backbone = build_backbone(name).eval()
    backbone.network.load_state_dict(model.state_dict(), strict=False)
    images = torch.rand(2, 3, 224, 224)
    features = backbone((images * 255 - torch.tensor(backbone.input_mean)[:, None, None]) / backbone._std)
    normalize = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    head = model.get_submodule(backbone.head)
    if name == "squeezenet1_1":  # the convolution stands before a ReLU and the average
        head = nn.Identity()
        model.classifier[1] = nn.Identity()
    torch.testing.assert_close(head(features), model(normalize(images)), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_networks_for_minus_one_to_one_get_what_torchvision_gives_them(name: str, size: int) -> None:
    """torchvision's published weights of these come with `transform_input`; their auxiliary heads are not needed."""
    model = torchvision.models.get_model(name, init_weights=False, transform_input=True).eval()
    backbone = build_backbone(name).eval()
    _, unexpected = backbone.network.load_state_dict(model.state_dict(), strict=False)
    assert {key.partition(".")[0] for key in unexpected} == {"fc", "AuxLogits" if "3" in name else "aux1"} | (
        set() if "3" in name else {"aux2"}
    )
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    preprocess = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    expected = model(preprocess(images / 255))
    torch.testing.assert_close(model.fc(backbone(backbone.normalize(images))), expected, rtol=1e-4, atol=1e-4)


def test_preprocessing_is_that_of_the_chosen_weights() -> None:
    with parameters_on_meta():
        plain, fine_tuned = (
            TorchvisionBackbone("vit_b_16", "none"),
            TorchvisionBackbone("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"),
        )
        half = TorchvisionBackbone("efficientnet_v2_l")
    assert (plain.image_size, fine_tuned.image_size) == (224, 384)
    assert plain.input_mean == (255 * 0.485, 255 * 0.456, 255 * 0.406)
    assert half.input_mean == half.input_std == (127.5, 127.5, 127.5)


def test_dropout_before_the_head_goes_with_it() -> None:
    network = torchvision.models.googlenet(init_weights=False)
    assert remove_head(network) == ("fc", 1024)
    assert not any(isinstance(child, nn.Dropout) for child in network.children())
    vgg = torchvision.models.vgg11(init_weights=False)
    remove_head(vgg)
    assert [isinstance(layer, nn.Dropout) for layer in vgg.classifier] == [
        False,
        False,
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("name", ["resnet18", "mnasnet0_5", "googlenet", "squeezenet1_1"])
def test_loads_torchvisions_own_state_dict(name: str, tmp_path: Path) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, **options)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    backbone = build_backbone(name, str(tmp_path / "model.pth"))
    theirs = model.state_dict()
    assert all(
        torch.equal(tensor, theirs[key.removeprefix("network.")]) for key, tensor in backbone.state_dict().items()
    )


def test_loads_a_densenet_with_the_names_of_the_published_file(tmp_path: Path) -> None:
    state = torchvision.models.densenet121().state_dict()
    published = {
        key.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): tensor
        for key, tensor in state.items()
    }
    assert published.keys() != state.keys()
    torch.save(published, tmp_path / "densenet.pth")
    backbone = build_backbone("densenet121", str(tmp_path / "densenet.pth"))
    assert all(
        torch.equal(tensor, state[key.removeprefix("network.")]) for key, tensor in backbone.state_dict().items()
    )


def test_a_file_of_another_network_names_the_first_keys(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(UserError, match=r"resnet18.pth does not fit the network: it lacks layer.* and \d+ more"):
        build_backbone("resnet34", str(path))
    with pytest.raises(
        UserError, match=r"resnet18.pth does not fit the network: size mismatch for layer1.0.conv1.weight"
    ):
        build_backbone("resnet50", str(path))
    with pytest.raises(UserError, match=r"lacks features.0.weight.* and has unknown conv1.weight, bn1.weight"):
        build_backbone("vgg11", str(path))
