"""Families of particles, drawn as a flow-imaging microscope sees them."""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

# Grey of a canvas without ink. Ink is darker than the light behind it, up to 1, or brighter, down
# to -1/3, as the inside of a lens is.
CLEAR = 64
# Diameters in pixels.
SMALLEST, LARGEST = 11, 180
# Points that a bent side is drawn with.
BOW = 6


class Pen:
    """Draws ink in units of the particle's radius, about its centre, turned by any angle.

    Parameters
    ----------
    rng : Generator
    size : float
        Diameter of the particle in pixels.
    margin : int
        Clear pixels around it.
    """

    def __init__(self, rng: Generator, size: float, margin: int):
        # Pillow draws without smoothing, which small shapes need more than large ones.
        self.fine = 4 if size < 32 else 2
        side = self.fine * (int(np.ceil(size)) + 2 * margin)
        self.picture = Image.new("L", (side, side), CLEAR)
        self.radius = self.fine * size / 2
        self.centre = side / 2 + self.fine * (rng.random(2) - 0.5)
        angle = 2 * np.pi * rng.random()
        cos, sin = np.cos(angle), np.sin(angle)
        self.turn = self.radius * np.array([[cos, sin], [-sin, cos]])
        # Strength of mottling and size of its grains, in radii.
        self.mottle = (0.0, 0.3)

    @cached_property
    def _draw(self):
        return ImageDraw.Draw(self.picture)

    def _place(self, points: np.ndarray) -> list[float]:
        return (points @ self.turn + self.centre).ravel().tolist()

    def _wide(self, width: float) -> int:
        # A line of less than a pixel would vanish.
        return max(self.fine, round(width * self.radius))

    def fill(self, outline: np.ndarray, ink: float) -> None:
        self._draw.polygon(self._place(outline), fill=_grey(ink))

    def line(self, points: np.ndarray, width: float, ink: float) -> None:
        self._draw.line(
            self._place(points), fill=_grey(ink), width=self._wide(width), joint="curve"
        )

    def wall(self, outline: np.ndarray, width: float, ink: float) -> None:
        self.line(np.concatenate([outline, outline[:2]]), width, ink)

    def disc(self, centre, radius: float, ink: float) -> None:
        x, y = np.asarray(centre) @ self.turn + self.centre
        r = max(radius * self.radius, self.fine / 2)
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=_grey(ink))

    def ink(self, blur: float, rng: Generator) -> np.ndarray:
        """Return the ink of each pixel as the lens shows it, float32.

        Parameters
        ----------
        blur : float
            Standard deviation of the point spread, in pixels.
        rng : Generator
            Source of the mottling.
        """
        picture = self.picture.reduce(self.fine).filter(ImageFilter.GaussianBlur(blur))
        # Light that an edge bends away makes a bright rim around it.
        picture = picture.filter(ImageFilter.UnsharpMask(1 + 1.5 * blur, 30, threshold=0))
        ink = (np.asarray(picture, np.float32) - CLEAR) / (255 - CLEAR)
        strength, grain = self.mottle
        if strength:
            spot = max(2, 3 * blur, grain * self.radius / self.fine)
            cells = 2 + int(picture.width / spot)
            coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
            ink *= 1 + strength * np.asarray(coarse.resize(picture.size, Image.Resampling.BICUBIC))
        return ink


def _grey(ink: float) -> int:
    return round(CLEAR + (255 - CLEAR) * ink)


def _circle(n: int = 48) -> np.ndarray:
    angles = np.arange(n) * (2 * np.pi / n)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _within(points: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Centre points and scale them so that the farthest has the radius `share`."""
    points = points - (points.max(axis=0) + points.min(axis=0)) / 2
    return points * (share / np.sqrt((points**2).sum(axis=1).max()))


def _rough(rng: Generator, corners: int, spread: float, flat: float) -> np.ndarray:
    """Return the outline of an irregular grain, `flat` times as wide as long."""
    angles = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (2 * np.pi / corners)
    radii = np.exp(spread * rng.standard_normal(corners))
    return _within(np.stack([radii * np.cos(angles), flat * radii * np.sin(angles)], axis=1))


def _bowed(outline: np.ndarray, bows: np.ndarray) -> np.ndarray:
    """Bend each side of a polygon, by a share of its length; outwards where positive."""
    ends = np.roll(outline, -1, axis=0)
    side = ends - outline
    normal = np.stack([side[:, 1], -side[:, 0]], axis=1)
    t = np.arange(BOW)[None, :, None] / BOW
    bent = (
        outline[:, None] + t * side[:, None] + 4 * t * (1 - t) * (bows[:, None] * normal)[:, None]
    )
    return bent.reshape(-1, 2)


def _curve(rng: Generator, bend: float, n: int = 24) -> np.ndarray:
    """Return a cubic Bezier curve from end to end of the unit disc."""
    t = np.linspace(0, 1, n)[:, None]
    a, b, c, d = np.stack([[-1, -0.4, 0.4, 1], bend * rng.standard_normal(4)], axis=1)
    s = 1 - t
    return _within(s**3 * a + 3 * s**2 * t * b + 3 * s * t**2 * c + t**3 * d, 0.97)


def draw_dust(pen: Pen, rng: Generator) -> None:
    """Draw a small irregular grain."""
    outline = _rough(rng, int(rng.integers(6, 13)), 0.2, rng.uniform(0.5, 1))
    pen.fill(outline, rng.uniform(0.7, 1))
    pen.mottle = (0.2, 0.5)


def draw_shard(pen: Pen, rng: Generator) -> None:
    """Draw volcanic glass: bowed sides that meet in corners, dark rims, vesicles, facets."""
    corners = _rough(rng, int(rng.integers(3, 7)), 0.25, rng.uniform(0.45, 0.9))
    outline = _within(_bowed(corners, rng.uniform(-0.2, 0.05, len(corners))))
    middle = outline.mean(axis=0)
    # Straight from the middle to a corner all is glass, however far the sides bow in.
    corners = outline[::BOW] - middle
    body = rng.uniform(0.1, 0.7)
    pen.fill(outline, body)
    for corner in rng.permutation(corners)[: rng.integers(0, 4)]:
        pen.line(np.array([middle, middle + 0.9 * corner]), 0.07, rng.uniform(0.6, 1))
    for corner in rng.choice(corners, rng.integers(0, 9)):
        spot = middle + rng.uniform(0, 0.7) * corner + rng.uniform(-0.06, 0.06, 2)
        pen.disc(spot, rng.uniform(0.03, 0.09), body + rng.uniform(0.15, 0.3))
    pen.wall(outline, rng.uniform(0.08, 0.14), 1)
    pen.mottle = (0.15, 0.2)


def draw_pollen(pen: Pen, rng: Generator) -> None:
    """Draw a round grain with a wall, pores and a granular inside, at times with spines."""
    spiny = rng.random() < 0.3
    circle = _circle()
    lobes = rng.uniform(0, 0.06) * np.cos(3 * np.arctan2(circle[:, 1], circle[:, 0]))
    body = _within(circle * (1 + lobes)[:, None] * [1, rng.uniform(0.85, 1)], 0.84 if spiny else 1)
    if spiny:
        for tip in _circle(int(rng.integers(11, 17))):
            side = 0.09 * tip[::-1] * [-1, 1]
            pen.fill(np.stack([tip, 0.75 * tip + side, 0.75 * tip - side]), 1)
    inside = rng.uniform(0.45, 0.75)
    pen.fill(body, 1)
    pen.fill((1 - rng.uniform(0.1, 0.2)) * body, inside)
    for pore in body[[8, 24, 40]] * rng.uniform(0.7, 0.85):
        pen.disc(pore, rng.uniform(0.14, 0.26), inside - rng.uniform(0.2, 0.4))
    pen.mottle = (0.1, 0.15)


def draw_fibre(pen: Pen, rng: Generator) -> None:
    """Draw a thin, bent thread with a light core."""
    curve = _curve(rng, rng.uniform(0.05, 0.6))
    width = rng.uniform(0.06, 0.16)
    pen.line(curve, width, 1)
    pen.line(curve, 0.3 * width, 0.8)
    pen.mottle = (0.15, 0.3)


def draw_blob(pen: Pen, rng: Generator) -> None:
    """Draw a loose aggregate of grains."""
    n = rng.integers(9, 26)
    grains = np.zeros((n, 2))
    for k in range(1, n):
        grains[k] = grains[rng.integers(k)] + rng.standard_normal(2)
    grains = _within(grains, 0.75)
    for grain, radius, ink in zip(
        grains, rng.uniform(0.14, 0.25, n), rng.uniform(0.35, 1, n), strict=True
    ):
        pen.disc(grain, radius, ink)
    pen.mottle = (0.3, 0.2)


def draw_diatom(pen: Pen, rng: Generator) -> None:
    """Draw a pennate frustule: a lens with a rib along it and stripes across."""
    t = np.linspace(-1, 1, 25)
    width = rng.uniform(0.2, 0.34)
    half = width * (1 - t**2) ** rng.uniform(0.45, 0.8)
    outline = np.concatenate([np.stack([t, half], 1), np.stack([t, -half], 1)[-2:0:-1]])
    body = rng.uniform(0.1, 0.35)
    pen.fill(outline, body)
    for k in range(2, 23, rng.integers(1, 4)):
        pen.line(np.array([[t[k], half[k]], [t[k], -half[k]]]), 0.03, body + 0.25)
    pen.line(np.array([[-0.9, 0], [0.9, 0]]), 0.06, 0.7)
    pen.wall(outline, rng.uniform(0.08, 0.12), 1)


def draw_bubble(pen: Pen, rng: Generator) -> None:
    """Draw an air bubble: a dark ring around light that it gathers like a lens."""
    pen.disc((0, 0), 1, 1)
    inner = rng.uniform(0.45, 0.75)
    pen.disc((0, 0), inner, rng.uniform(0, 0.3))
    pen.disc(rng.uniform(-0.1, 0.1, 2), 0.5 * inner, rng.uniform(-0.33, -0.1))


def draw_blurred(pen: Pen, rng: Generator) -> None:
    """Draw any particle, to be seen out of focus."""
    families = (draw_dust, draw_shard, draw_pollen, draw_blob, draw_diatom)
    families[rng.integers(len(families))](pen, rng)


def draw_star(pen: Pen, rng: Generator) -> None:
    """Draw a hair with arms that radiate from its middle."""
    arms = rng.integers(5, 9)
    tips = np.arange(arms) + rng.uniform(-0.15, 0.15, arms)
    angles = np.stack([tips, tips + 0.5], 1).ravel() * (2 * np.pi / arms)
    radii = np.stack([rng.uniform(0.6, 1, arms), np.full(arms, rng.uniform(0.22, 0.34))], 1)
    pen.fill(_within(radii.reshape(-1, 1) * np.stack([np.cos(angles), np.sin(angles)], 1)), 0.9)
    pen.mottle = (0.2, 0.3)


def draw_spring(pen: Pen, rng: Generator) -> None:
    """Draw a coil seen from the side."""
    turns = rng.integers(4, 7)
    t = np.linspace(0, 1, 14 * turns)
    phase = 2 * np.pi * (turns * t + rng.random())
    height, bend = rng.uniform(0.3, 0.45), rng.uniform(-0.3, 0.3)
    x = 2 * t + rng.uniform(0.12, 0.25) * np.cos(phase)
    y = height * np.sin(phase) + bend * (2 * t - 1) ** 2
    pen.line(_within(np.stack([x, y], 1), 0.96), rng.uniform(0.06, 0.1), 1)


def draw_chain(pen: Pen, rng: Generator) -> None:
    """Draw a string of beads."""
    n = rng.integers(4, 8)
    curve = _curve(rng, rng.uniform(0.05, 0.5), 200)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    radius = length[-1] / (2 * n - 1.5)
    middles = np.linspace(0, length[-1], n)
    beads = np.stack([np.interp(middles, length, axis) for axis in curve.T], 1)
    shrink = 1 / (1 + radius)
    inside = rng.uniform(0.3, 0.7)
    for bead in beads * shrink:
        pen.disc(bead, radius * shrink, 1)
        pen.disc(bead, 0.6 * radius * shrink, inside)
    pen.mottle = (0.15, 0.2)


def draw_dumbbell(pen: Pen, rng: Generator) -> None:
    """Draw two lobes joined by a bar."""
    one, other = rng.uniform(0.3, 0.42, 2)
    pen.line(np.array([[-0.6, 0], [0.6, 0]]), rng.uniform(0.14, 0.24), 1)
    inside = rng.uniform(0.4, 0.8)
    for x, radius in ((one - 1, one), (1 - other, other)):
        pen.disc((x, 0), radius, 1)
        pen.disc((x, 0), 0.7 * radius, inside)
    pen.mottle = (0.2, 0.2)


class Family(NamedTuple):
    """How one class of particles is drawn.

    Attributes
    ----------
    draw : callable
        Takes a `Pen` and a generator.
    size : float
        Median diameter in pixels.
    spread : float
        Standard deviation of the logarithm of what the diameter has above the smallest.
    share : float
        Of the particles, by default, relative to the other families.
    defocus : float
        Blur as a share of the diameter, beside that of the lens.
    """

    draw: Callable[[Pen, Generator], None]
    size: float
    spread: float
    share: float = 1.0
    defocus: float = 0.0

    def paint(self, rng: Generator) -> np.ndarray:
        """Return the ink of one particle, the darkest pixel 1, on a clear margin."""
        # A shifted log-normal distribution: a long tail, and no heap at the smallest size.
        above = (self.size - SMALLEST) * float(np.exp(self.spread * rng.standard_normal()))
        size = min(SMALLEST + above, LARGEST)
        blur = rng.uniform(0.6, 1.2) + size * self.defocus * rng.uniform(0.7, 1.4)
        pen = Pen(rng, size, margin=6 + int(3 * blur))
        self.draw(pen, rng)
        ink = pen.ink(blur, rng)
        return ink / ink.max()


# By falling share: `classes=3` are the first three.
KNOWN = {
    "dust": Family(draw_dust, size=20, spread=0.8, share=60),
    "shard": Family(draw_shard, size=40, spread=0.6, share=11),
    "blurred": Family(draw_blurred, size=26, spread=0.6, share=9, defocus=0.11),
    "pollen": Family(draw_pollen, size=36, spread=0.5, share=7),
    "fibre": Family(draw_fibre, size=50, spread=0.6, share=5),
    "blob": Family(draw_blob, size=34, spread=0.6, share=5),
    "diatom": Family(draw_diatom, size=40, spread=0.5, share=3),
    "bubble": Family(draw_bubble, size=24, spread=0.5, share=2),
}
# Large enough to be told apart, yet of no other size or shade than the known ones.
NOVEL = {
    "star": Family(draw_star, size=34, spread=0.5),
    "spring": Family(draw_spring, size=38, spread=0.5),
    "chain": Family(draw_chain, size=40, spread=0.5),
    "dumbbell": Family(draw_dumbbell, size=34, spread=0.5),
}
