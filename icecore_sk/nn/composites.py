"""Images of no class: parts of two images of different classes, joined along a line."""

import math

import torch
from torch import Tensor

# How far from the centre the line may lie, in half sides: either part must hold something.
LARGEST_OFFSET = 0.3


class Composites:
    """Join images of different classes, cut along a random straight line near the centre.

    A composite is made of parts that the network knows, but is nothing that it knows; what a
    network must learn to refuse it for is how parts belong together. Composites are what outlier
    exposure needs, made from the training images themselves: Yun et al. (2019) paste rectangles
    of images into others to train on mixed labels; Hendrycks, Mazeika and Dietterich (2019) train
    on images of another collection, and Neal, Olson, Fern, Wong and Li (2018) on generated ones, to
    give them no label.

    Parameters
    ----------
    generator : torch.Generator
        On the CPU, so that every device draws the same.
    share : float
        Composites beside each batch, as a share of its rows.

    References
    ----------
    Yun, Han, Oh, Chun, Choe and Yoo (2019). CutMix: regularization strategy to train strong
    classifiers with localizable features. ICCV.
    Hendrycks, Mazeika and Dietterich (2019). Deep anomaly detection with outlier exposure. ICLR.
    Neal, Olson, Fern, Wong and Li (2018). Open set learning with counterfactual images. ECCV.
    """

    def __init__(self, generator: torch.Generator, share: float):
        self.generator, self.share = generator, share

    def __call__(self, image: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return composites and the row that gave the first part of each.

        Parameters
        ----------
        image : tensor of shape (n, C, H, W)
        y : tensor of int, shape (n,), on the CPU
            Classes of the rows. Where all rows are of one class there is no composite.

        Returns
        -------
        composites : tensor of shape (m, C, H, W)
        one : tensor of int, shape (m,)
        """
        one, other = self.pairs(y)
        device = image.device
        mask = self.sides(len(one), *image.shape[2:])[:, None].to(device)  # (m, 1, H, W)
        joined = torch.where(mask, image[one.to(device)], image[other.to(device)])
        return joined.contiguous(memory_format=torch.channels_last), one

    def pairs(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Draw rows, and for each another row of another class."""
        m = math.ceil(self.share * len(y))
        one = torch.randperm(len(y), generator=self.generator)[:m]
        differs = (y[one][:, None] != y).float()  # (m, n)
        one, differs = one[differs.any(1)], differs[differs.any(1)]
        if not len(one):
            return one, one
        return one, torch.multinomial(differs, 1, generator=self.generator).flatten()

    def sides(self, m: int, height: int, width: int) -> Tensor:
        """Return for each of m random lines which pixels lie on its first side, (m, H, W)."""
        angle = 2 * math.pi * torch.rand(m, 1, 1, generator=self.generator)
        offset = LARGEST_OFFSET * (2 * torch.rand(m, 1, 1, generator=self.generator) - 1)
        y = torch.linspace(-1, 1, height)[:, None]
        x = torch.linspace(-1, 1, width)
        return x * angle.cos() + y * angle.sin() > offset
