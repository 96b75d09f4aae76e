"""Keywords of DeepLabCut's functions: other names for them, and those that shoal takes but does not use."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from shoal.errors import ConfigError

ALIASES = {
    "videotype": "video_extensions",
    "batchsize": "batch_size",
    "Shuffles": "shuffles",
    "shuffle": "shuffles",
    "displayiters": "display_iters",
    "saveiters": "save_iters",
    "maxiters": "max_iters",
    "comparisonbodyparts": "comparison_bodyparts",
    "snapshotindex": "snapshot_index",
    "Snapshots": "snapshots_to_evaluate",
    "config_path": "config",
    "video": "videos",
    "destination": "destfolder",
}
"""Names that DeepLabCut's versions have given to the same thing; each is taken for the other, either way."""

WITHOUT_EFFECT = {
    "allow_growth": "TensorFlow's",
    "autotune": "TensorFlow's",
    "TFGPUinference": "TensorFlow's",
    "rescale": "TensorFlow's",
    "use_openvino": "TensorFlow's",
    "opencv": "one reader for all videos",
    "slider_width": "a window's",
    "in_random_order": "each video can be analyzed by one process at a time; results do not depend on the order",
    "robust_nframes": "frames are always counted, never taken from the header",
    "use_shelve": "memory is bounded anyway",
    "calibrate": "DeepLabCut's PyTorch engine ignores it as well",
    "dynamic": "for one animal; the whole frame is searched",
    "show_gpu_memory": "the training's log says it",
    "greedy": "animals are grouped by one method",
    "window_size": "animals are grouped by one method",
    "prestitch_residuals": "all tracklets are joined at once, short ones too",
    "split_tracklets": "tracklets never hold gaps that are unsafe",
    "weight_func": "costs are learned from the video; the re-ID work adds appearance",
    "identity_only": "identities are votes on tracks, not a way to assemble",
    "crop_size": "crops follow pytorch_config.yaml, as in DeepLabCut's PyTorch engine",
    "crop_sampling": "crops follow pytorch_config.yaml, as in DeepLabCut's PyTorch engine",
    "n_edges_threshold": "limbs follow pytorch_config.yaml, as in DeepLabCut's PyTorch engine",
    "paf_graph_degree": "limbs follow pytorch_config.yaml, as in DeepLabCut's PyTorch engine",
    "numdigits": "coordinates are stored with two digits",
    "windows2linux": "paths of either system are understood",
    "augmenter_type": "augmentation follows pytorch_config.yaml",
    "max_iters": "training counts epochs: epochs=",
    "save_iters": "training counts epochs: save_epochs=",
    "detector_batch_size": "there is no detector",
    "detector_epochs": "there is no detector",
    "detector_save_epochs": "there is no detector",
    "pose_threshold": "for SuperAnimal models",
    "save_frames": "the video is encoded directly",
    "codec": "videos are H.264, which every player shows",
    "fastmode": "there is one way to draw, the fast one",
    "max_workers": "decoding, drawing and encoding overlap within one video",
    "plot_bboxes": "there is no detector, so there are no boxes",
    "bboxes_pcutoff": "there is no detector, so there are no boxes",
    "showfigures": "figures are files",
    "init_weights": "for SuperAnimal models",
    "displaycropped": "the whole frame is shown",
    "cluster_color": "frames are compared in grey",
    "detector_snapshot_index": "there is no detector",
    "top_down_dynamic": "there is no detector",
    "confidence_to_alpha": "keypoints below pcutoff are left out, the others are drawn alike",
    "skeleton_color": "limbs have their animal's colour",
    "outputframerate": "the video keeps its own pace",
    "dotsize": "config.yaml's is used, as in DeepLabCut",
    "colormap": "config.yaml's is used, as in DeepLabCut",
    "alphavalue": "config.yaml's is used, as in DeepLabCut",
    "inferencecfg": "shoal's own settings: `shoal track RUN --set ...`",
    "inference_cfg": "shoal's own settings: `shoal track RUN --set ...`",
    "ignore_bodyparts": "all keypoints count",
    "dpi": "images keep their size; scale= changes it",
    "create_video_with_all_detections.cropping": "the part that was analyzed is known",
    "alpha": "filters and outliers need no confidence interval",
    "automatic": "nothing is asked anyway",
    "Labels": "labels are dots with limbs and names",
    "visualizeindividuals": "every animal's keypoints are drawn",
}
"""Keyword (or function.keyword) -> why it changes nothing here; values that differ from the default are warned of."""

REFUSED = {
    "modelprefix": "models of a project lie in one place",
    "superanimal_name": "SuperAnimal models cannot be used",
    "superanimal_transfer_learning": "SuperAnimal models cannot be used",
    "weight_init": "start from a snapshot instead: train_network(..., snapshot_path=...)",
    "detector_type": "shoal has no top-down models",
    "detector_path": "shoal has no top-down models",
    "ctd_conditions": "shoal has no conditional top-down models",
    "ctd_tracking": "shoal has no conditional top-down models",
    "transform": "images are prepared as the snapshot's pytorch_config.yaml says",
    "posecfg_template": "edit pytorch_config.yaml of the new shuffle instead",
    "transformer_checkpoint": "appearance comes with the re-ID work",
    "config3d": "shoal has no 3-D",
    "extracted_cam": "shoal has no 3-D",
}
"""Keyword -> why another value than DeepLabCut's default cannot be right here: an error."""


def bind(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the function's own names, aliases resolved, defaults filled in.

    Args:
        name: of the function, for messages.
        signature: of the function; it has no catch-all parameters.
        args: positional arguments.
        kwargs: keyword arguments, by any of their names.

    Raises:
        ConfigError: an unknown keyword, one given twice, a missing one, or one that cannot be right.
    """
    known = signature.parameters
    given: dict[str, Any] = {}
    for key, value in kwargs.items():
        own = key if key in known else _alias(key, known)
        if not own:
            near = difflib.get_close_matches(key, [*known, *ALIASES], n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it takes: {', '.join(known)}"
            raise ConfigError(f"expected a keyword of {name}, got '{key}'", hint=hint)
        if own in given:
            raise ConfigError(f"expected '{own}' once, got it twice (as '{key}' too)\nwhere: {name}")
        given[own] = value
    try:
        bound = signature.bind(*args, **given)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}", hint=f"it takes: {', '.join(known)}") from error
    bound.apply_defaults()
    for key, value in bound.arguments.items():
        if key in REFUSED and not _is_default(known[key], value):
            raise ConfigError(f"expected {key}={known[key].default!r}, got {value!r}\nwhere: {name}", hint=REFUSED[key])
    if str(bound.arguments.get("engine") or "pytorch").lower().rpartition(".")[2] != "pytorch":
        raise ConfigError(
            f"expected engine='pytorch', got {bound.arguments['engine']!r}\nwhere: {name}",
            hint="shoal runs models of the PyTorch engine; leave engine out",
        )
    return dict(bound.arguments)


def unused(name: str, signature: inspect.Signature, arguments: Mapping[str, Any]) -> list[str]:
    """``keyword (why)`` of all arguments that were given and change nothing."""
    reasons = {key: WITHOUT_EFFECT.get(f"{name}.{key}", WITHOUT_EFFECT.get(key, "")) for key in arguments}
    return [
        f"{key} ({reasons[key]})"
        for key, value in arguments.items()
        if reasons[key] and not _is_default(signature.parameters[key], value)
    ]


def _alias(key: str, known: Mapping[str, Any]) -> str:
    for one, other in ALIASES.items():
        if key == one and other in known:
            return other
        if key == other and one in known:
            return one
    return ""


def _is_default(parameter: inspect.Parameter, value: Any) -> bool:
    default = parameter.default
    return value is default or (isinstance(value, type(default)) and bool(value == default))
