"""Drawn pictures to train the network on beside photos: flat colours, text, charts, screenshots.

Photos are never quite flat, so a network that was trained on photos alone gives flat ground a
faint texture, which people see. All pictures are made from a random generator, with Pillow and its
default font.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_PALE = 12
"""Largest difference of the two ends of a faint gradient, by channel."""


def drawn_pictures(
    photos: Sequence[np.ndarray], count: int, side: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return `count` pictures, uint8 [side, side, 3]; some show a part of a photo on flat ground.

    `photos` uint8 [H, W, 3].
    """
    return [_KINDS[rng.choice(len(_KINDS), p=_CHANCE)](photos, side, rng) for _ in range(count)]


def flat(_: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a picture of one colour."""
    return np.full((side, side, 3), _colour(rng), np.uint8)


def gradient(_: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a gradient in any direction, faint ones included."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:side, :side] / side - 0.5
    place = 0.5 + (x * np.cos(angle) + y * np.sin(angle)) / 2**0.5
    first = np.array(_colour(rng), float)
    change = rng.integers(-_PALE, _PALE + 1, 3) if rng.random() < 0.5 else _colour(rng) - first
    return (first + place[..., None] * change).round().clip(0, 255).astype(np.uint8)


def shapes(_: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Return rectangles, ellipses and lines on flat ground, with smooth or with hard edges."""
    scale = int(rng.integers(1, 3))
    picture = Image.new("RGB", (side * scale, side * scale), _colour(rng))
    draw = ImageDraw.Draw(picture)
    for _number in range(rng.integers(1, 9)):
        box = _box(side * scale, rng)
        kind = rng.integers(4)
        if kind == 0:
            draw.rectangle(box, _colour(rng))
        elif kind == 1:
            draw.ellipse(box, _colour(rng))
        elif kind == 2:
            draw.line(box, _colour(rng), int(rng.integers(1, 6)))
        else:
            draw.rectangle(box, None, _colour(rng), int(rng.integers(1, 4)))
    return np.array(picture.reduce(scale))


def text(_: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Return lines of text of one or several sizes, mostly dark on white or white on dark."""
    ground = _colour(rng) if rng.random() < 0.3 else (255, 255, 255)
    picture = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(picture)
    size, top, left = map(int, rng.integers((9, 0, 0), (33, 24, side // 4)))
    while top < side:
        size = int(rng.integers(9, 33)) if rng.random() < 0.2 else size
        ink = _ink(ground, rng)
        draw.text((left, top), _words(side, rng), ink, ImageFont.load_default(float(size)))
        top += int(size * rng.uniform(1.1, 2.5))
    return np.array(picture)


def photo_on_ground(
    photos: Sequence[np.ndarray], side: int, rng: np.random.Generator
) -> np.ndarray:
    """Return a part of a photo, a rectangle or an ellipse, on white, black or another ground."""
    ground = [(255, 255, 255), (0, 0, 0), _colour(rng)][rng.choice(3, p=[0.7, 0.15, 0.15])]
    picture = Image.new("RGB", (side, side), ground)
    left, top, right, bottom = _box(side, rng)
    shown = Image.fromarray(_one_of(photos, rng)).resize((right - left, bottom - top))
    mask = Image.new("L", (2 * shown.width, 2 * shown.height), 255)
    if rng.random() < 0.5:
        mask.paste(0, (0, 0, *mask.size))
        ImageDraw.Draw(mask).ellipse((0, 0, mask.width - 1, mask.height - 1), 255)
    picture.paste(shown, (left, top), mask.reduce(2))
    return np.array(picture)


def chart(_: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Return axes with labels and curves or bars."""
    ground = (255, 255, 255) if rng.random() < 0.8 else _colour(rng)
    picture = Image.new("RGB", (side, side), ground)
    draw, ink = ImageDraw.Draw(picture), _ink(ground, rng)
    left, bottom = side // 8, side - side // 8
    draw.line([(left, side // 16), (left, bottom), (side - side // 16, bottom)], ink)
    for place in np.linspace(side // 16, bottom, 6).round().astype(int).tolist():
        if rng.random() < 0.5:
            draw.line([(left, place), (side - side // 16, place)], (220, 220, 220))
        draw.text((4, place - 6), str(rng.integers(1000)), ink, ImageFont.load_default(10.0))
    for _curve in range(rng.integers(1, 5)):
        colour = _colour(rng)
        x = np.linspace(left, side - side // 16, rng.integers(5, 40)).round()
        y = side / 2 + np.cumsum(rng.normal(0, side / 24, len(x)))
        y = y.clip(side // 16, bottom).round()
        if rng.random() < 0.7:
            points = np.stack([x, y], 1).ravel().tolist()
            draw.line(points, colour, int(rng.integers(1, 4)))
        else:
            for place, height in zip(x.tolist(), y.tolist(), strict=True):
                draw.rectangle((place, height, place + side // 50, bottom), colour)
    return np.array(picture)


def screen(photos: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Return something like a part of a screenshot: a bar, panels, buttons, text, a thumbnail."""
    ground = ((255, 255, 255), (245, 246, 248), (30, 31, 34), _colour(rng))[rng.integers(4)]
    picture = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(picture)
    font, bar = ImageFont.load_default(float(rng.integers(10, 16))), int(rng.integers(20, 50))
    colour = _colour(rng)
    draw.rectangle((0, 0, side, bar), colour)
    draw.text((8, bar // 3), _words(side // 3, rng), _ink(colour, rng), font)
    for _panel in range(rng.integers(2, 6)):
        left, top, right, bottom = _box(side, rng)
        fill = ground if rng.random() < 0.5 else _colour(rng)
        draw.rounded_rectangle((left, top, right, bottom), 6, fill, _ink(ground, rng))
        if rng.random() < 0.3:
            shown = Image.fromarray(_one_of(photos, rng))
            picture.paste(shown.resize((right - left, bottom - top)), (left, top))
            continue
        ink = _ink(fill, rng)
        for line in range(top + 4, bottom - 12, 18):
            draw.text((left + 6, line), _words(right - left - 12, rng), ink, font)
    return np.array(picture)


_KINDS = (flat, gradient, shapes, text, photo_on_ground, chart, screen)
_CHANCE = (0.35, 0.1, 0.1, 0.15, 0.1, 0.1, 0.1)
"""How often each kind is drawn. Flat ground is in most of them."""


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return white, black, a grey, a saturated or any other colour."""
    kind = rng.choice(5, p=[0.25, 0.15, 0.15, 0.2, 0.25])
    if kind < 3:
        return ((255,) * 3, (0,) * 3, (int(rng.integers(256)),) * 3)[kind]
    if kind == 3:
        red, green, blue = (255 * rng.integers(0, 2, 3)).tolist()
    else:
        red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _ink(ground: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int, int]:
    """Return a colour to write with: black or white, whichever is seen, or any."""
    if rng.random() < 0.3:
        return _colour(rng)
    return (0, 0, 0) if sum(ground) > 3 * 127 else (255, 255, 255)


def _one_of(photos: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    return photos[int(rng.integers(len(photos)))]


def _box(side: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a part of a square picture, at least 1/8 of it wide."""
    left, top = rng.integers(0, side - side // 4, 2).tolist()
    width, height = rng.integers(side // 8, side - max(left, top), 2).tolist()
    return left, top, left + width, top + height


def _words(width: int, rng: np.random.Generator) -> str:
    """Return words of random letters that fill a line of so many pixels in a small font."""
    letters = np.array(list(string.ascii_letters + string.digits + " " * 12))
    return "".join(rng.choice(letters, max(1, width // 6)).tolist())
