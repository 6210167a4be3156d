"""Pages that the example renders itself, so that what stands on them is known."""

import io

import numpy as np

HEIGHT, WIDTH = 480, 704
MARGIN = 30

PAGES = [
    (
        (34, "The river and the mill"),
        (21, "Water comes down the hill through a long pipe."),
        (21, "It turns a wheel, and the wheel turns a stone."),
        (21, "Nobody carries water in buckets any more."),
        (17, "Opened 1887, rebuilt 1923, closed for repair in 2026."),
        (28, "Tickets: 12.50 for adults"),
        (21, "Children under 7 are free, dogs are not."),
    ),
    (
        (38, "NOTICE"),
        (24, "The north gate is open from 8:30 to 17:45."),
        (18, "Please leave bicycles and umbrellas outside."),
        (18, "Ask for the key to the tower at the desk."),
        (30, "Room 204 is closed today"),
        (24, "Telephone 0551 39 26718"),
    ),
]


def picture(number: int) -> bytes:
    """Page *number* as a PNG file: dark letters on paper that is not quite white."""
    from PIL import Image, ImageDraw, ImageFont

    chance = np.random.default_rng(number)
    paper = 236 + 6 * chance.standard_normal((HEIGHT, WIDTH, 3))
    image = Image.fromarray(paper.clip(0, 255).astype(np.uint8))
    draw, top = ImageDraw.Draw(image), MARGIN
    for size, text in PAGES[number]:
        draw.text((MARGIN, top), text, fill=(40, 44, 60), font=ImageFont.load_default(size))
        top += size + 32
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def text(number: int) -> list[str]:
    """What stands on page *number*, line by line."""
    return [line for _, line in PAGES[number]]
