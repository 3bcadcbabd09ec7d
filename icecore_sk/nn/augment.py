"""Random views of a batch of images, drawn per image and made on the device."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Name of each entry of the parameter `augmentation` with its largest allowed strength.
STRENGTHS = {
    "rotate": 180.0,
    "shift": 0.5,
    "scale": 0.9,
    "brightness": 1.0,
    "flip": 1,
    "quarter_turns": 1,
}


def checked(augmentation: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the parameter `augmentation` asks for: its entries that are not zero or False.

    Raises
    ------
    ValueError
        Where an entry is unknown, or beyond its largest strength.
    """
    for name, value in (augmentation or {}).items():
        if name not in STRENGTHS:
            raise ValueError(
                f"augmentation has the unknown entry {name!r}; expected some of {list(STRENGTHS)}."
            )
        if (
            not isinstance(value, float | int | np.number | np.bool_)
            or not 0 <= value <= STRENGTHS[name]
        ):
            raise ValueError(
                f"augmentation[{name!r}]={value!r} must be between 0 and {STRENGTHS[name]}."
            )
    return {name: value for name, value in (augmentation or {}).items() if value}


def likely_views(
    image: Tensor, flip: bool = False, quarter_turns: bool = False, shift: float = 0.0
) -> list[Tensor]:
    """Return views of a batch that `Augment` may draw too, the images themselves first.

    Every mirrored and turned view; where there are none, the images moved by a pixel to each side
    to which a shift of as much, as a share of the side, comes to a pixel. What `Augment` fills
    beyond the edge is drawn out of it here.
    """
    height, width = image.shape[2:]
    turns: tuple[int, ...] = (0,)
    if quarter_turns:
        turns = (0, 1, 2, 3) if height == width else (0, 2)
    sides = [image, image.flip(3)] if flip else [image]
    views = [side.rot90(turn, (2, 3)) for side in sides for turn in turns]
    if shift and not (flip or quarter_turns):
        padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
        corners = [(1, 1)]  # of the views in what is padded
        corners += [(0, 1), (2, 1)] if moves(shift, height) else []
        corners += [(1, 0), (1, 2)] if moves(shift, width) else []
        views = [padded[:, :, y : y + height, x : x + width] for y, x in corners]
    return [view.contiguous(memory_format=torch.channels_last) for view in views]


def moves(shift: float, side: int) -> bool:
    """Whether the largest shift comes to a pixel or more."""
    return round(shift * side) >= 1


class Augment:
    """Draw another view of every image: one affine map each, resampled once.

    Parameters
    ----------
    generator : torch.Generator
        On the CPU, so that every device draws the same.
    fill : float
        Grey level outside the image, on the scale of the batch.
    rotate : float
        Largest angle in degrees.
    shift : float
        Largest shift as a share of the side; shifts are by whole pixels.
    scale : float
        Largest relative change of size.
    brightness : float
        Largest relative change of brightness.
    flip, quarter_turns : bool
        Mirror with probability 1/2; turn by 0, 90, 180 or 270 degrees (square images; 0 or 180
        otherwise).
    """

    def __init__(
        self,
        generator: torch.Generator,
        fill: float = 0.0,
        rotate: float = 0.0,
        shift: float = 0.0,
        scale: float = 0.0,
        brightness: float = 0.0,
        flip: bool = False,
        quarter_turns: bool = False,
    ):
        self.generator, self.fill = generator, fill
        self.rotate, self.shift, self.scale = rotate, shift, scale
        self.brightness, self.flip, self.quarter_turns = brightness, flip, quarter_turns

    def __call__(self, image: Tensor, n: int | None = None, rows=slice(None)) -> Tensor:
        """Return another view of every image.

        Parameters
        ----------
        image : tensor of shape (m, C, H, W)
        n : int or None
            Images of the whole batch, for which views are drawn; None: the m that are here.
        rows : index
            Which of the n the m images are.
        """
        n = len(image) if n is None else n
        height, width = image.shape[2:]
        angle = self._symmetric(n) * math.radians(self.rotate)
        size = 1.0 + self._symmetric(n) * self.scale
        # By whole pixels: between them everything would be blurred, and how sharp a particle is
        # tells one that was missed by the focus from others.
        shift_x = (self._symmetric(n) * self.shift * width).round() / width
        shift_y = (self._symmetric(n) * self.shift * height).round() / height
        mirror = torch.ones(n)
        if self.flip:
            mirror -= 2.0 * self._integers(n, 2)
        if self.quarter_turns:
            steps = self._integers(n, 4) if height == width else 2 * self._integers(n, 2)
            angle = angle + steps * (math.pi / 2)
        cos, sin = angle.cos() / size, angle.sin() / size
        # affine_grid measures both axes in half sides: a turn of a non-square image needs both.
        aspect = height / width
        maps = torch.stack(
            [
                torch.stack([mirror * cos, -mirror * sin * aspect, 2 * shift_x], 1),
                torch.stack([sin / aspect, cos, 2 * shift_y], 1),
            ],
            1,
        )[rows].to(image.device)  # (m, 2, 3)
        factor = 1.0 + self._symmetric(n) * self.brightness if self.brightness else None
        if not len(image):
            return image
        grid = F.affine_grid(maps, list(image.shape), align_corners=False)
        # grid_sample pads with zeros only; moving the fill to zero makes that the fill.
        moved = F.grid_sample(image - self.fill, grid, align_corners=False) + self.fill
        if factor is not None:
            moved = moved * factor[rows].to(image.device)[:, None, None, None]
        return moved.contiguous(memory_format=torch.channels_last)

    def _symmetric(self, n: int) -> Tensor:
        return 2.0 * torch.rand(n, generator=self.generator) - 1.0

    def _integers(self, n: int, high: int) -> Tensor:
        return torch.randint(high, (n,), generator=self.generator).float()
