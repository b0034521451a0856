"""PhysNet's input: the face, cut from the crops, at the network's size."""

import torch
import torch.nn.functional as F
from numpy import float32
from numpy.typing import NDArray
from torch import Tensor

from rppg.errors import InputError
from rppg.models.physnet import PhysNetConfig
from rppg.types import CROP_TO_FACE


def check_channels(found: int, config: PhysNetConfig) -> None:
    """Raise an InputError if the frames have other channels than the network's."""
    if found != config.channels:
        raise InputError(
            f"frames of {found} channels, but this network is made for {config.channels}; "
            "choose a network with as many (model.channels)"
        )


def cut_faces(crops: NDArray[float32], config: PhysNetConfig) -> Tensor:
    """Cut faces `(T, C, S, S)` from crops `(T, H, H, C)`, with the margin that the config asks for.

    Area averages where the crop is larger than the result, else interpolated.
    """
    whole = crops.shape[1]
    margin = round(whole * (1 - config.face_scale / CROP_TO_FACE) / 2)
    size = whole - 2 * margin
    faces = torch.from_numpy(crops[:, margin : margin + size, margin : margin + size])
    faces = faces.permute(0, 3, 1, 2)
    if size == config.side:
        return faces
    if size > config.side:
        return F.adaptive_avg_pool2d(faces, config.side)
    return F.interpolate(faces, (config.side, config.side), mode="bilinear", antialias=False)
