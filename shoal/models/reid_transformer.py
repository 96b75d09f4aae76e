"""DLC's transformer over the backbone features of an animal's keypoints (dlc_formats.md 6.8), weights in its form."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from shoal.errors import CheckpointError

SIZE, N_BLOCKS, N_HEADS, DROP = 128, 4, 4, 0.1


class KeypointTransformer(nn.Module):
    """(B, K, C) features -> (B, 128) embeddings of length 1. A keypoint whose features are all 0 is missing.

    Args:
        n_keypoints: K.
        n_features: C.
    """

    def __init__(self, n_keypoints: int, n_features: int) -> None:
        super().__init__()
        self.n_keypoints, self.n_features = n_keypoints, n_features
        self.base = _Base(n_keypoints, n_features)

    def forward(self, x: Float[Tensor, "B K C"]) -> Float[Tensor, "B D"]:
        """Embeddings; other keypoints take nothing from those that are missing."""
        return F.normalize(self.base(x), dim=1)


class _Base(nn.Module):
    def __init__(self, n_keypoints: int, n_features: int) -> None:
        super().__init__()
        self.kpt_embed = nn.ModuleDict({"proj": nn.Linear(n_features, SIZE)})
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, n_keypoints, SIZE))
        self.blocks = nn.ModuleList(_Block(DROP * i / (N_BLOCKS - 1)) for i in range(N_BLOCKS))
        self.norm = nn.LayerNorm(SIZE, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        is_seen = (x != 0).any(2)
        is_seen = is_seen | ~is_seen.any(1, keepdim=True)  # an animal without features: no softmax over nothing
        x = self.kpt_embed["proj"](x) + self.pos_embed
        for block in self.blocks:
            x = block(x, is_seen[:, None, None, :])
        return self.norm(x)[:, 0]


class _Block(nn.Module):
    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.norm1, self.norm2 = nn.LayerNorm(SIZE, eps=1e-6), nn.LayerNorm(SIZE, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(SIZE, 3 * SIZE), "proj": nn.Linear(SIZE, SIZE)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(SIZE, SIZE), "fc2": nn.Linear(SIZE, SIZE)})

    def forward(self, x: Tensor, is_seen: Tensor) -> Tensor:
        n, k, _ = x.shape
        q, key, value = self.attn["qkv"](self.norm1(x)).view(n, k, 3, N_HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, key, value, attn_mask=is_seen)
        x = x + self._kept(self.attn["proj"](mixed.transpose(1, 2).reshape(n, k, SIZE)))
        return x + self._kept(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))

    def _kept(self, x: Tensor) -> Tensor:
        """Stochastic depth: in training some samples skip the branch."""
        if not self.training or not self.drop:
            return x
        keep = 1 - self.drop
        return x * (torch.rand(len(x), 1, 1, device=x.device) < keep) / keep


def load_transformer(path: Path) -> KeypointTransformer:
    """The network of a ``dlc_transreid_<epoch>.pth``, DLC's or shoal's, in evaluation mode on the CPU.

    Raises:
        CheckpointError: missing, damaged or something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        net = KeypointTransformer(int(content["num_kpts"]), int(content["feature_dim"]))
        net.load_state_dict(content["state_dict"])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"expected a re-ID transformer of DeepLabCut, got: {reason}\nwhere: {path}") from error
    return net.eval()
