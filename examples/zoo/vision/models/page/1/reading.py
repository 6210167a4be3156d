"""Pixels that are text -> boxes around lines; numbers of letters -> text. No network is here."""

import numpy as np
from PIL import Image
from scipy import ndimage

TEXT, SURE = 0.3, 0.5
"""How surely a pixel is text, and the pixels of a box in the mean."""
GROWN = 1.6
"""The network marks the middle of a line: a box grows by so much of its area over its edge."""
LINE = 48
"""Pixels that a line is high when it is read."""


def read_page(pixels, find, read, letters):
    """The lines of a page [height, width, 3], from top to bottom.

    *find*: pixels as the first network wants them [1, 3, h, w] -> how surely each is text.
    *read*: lines [n, 3, 48, w] -> numbers of letters [n, t], and how sure they are [n, t].
    Returns texts, boxes [n, 4] (left, top, right, bottom) and sureness [n].
    """
    boxes = boxes_of(find(prepared(padded(pixels)))[0, 0])
    if not boxes:
        return [], np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    best, sure = read(lines_of(pixels, boxes))
    found = [decoded(*row, letters) for row in zip(best, sure, strict=True)]
    texts, sureness = zip(*found, strict=True)
    return list(texts), np.array(boxes, np.float32), np.array(sureness, np.float32)


def prepared(pixels):
    """Pixels [h, w, 3] from 0 to 255 -> [1, 3, h, w] from -1 to 1, blue first."""
    return np.ascontiguousarray(pixels[None, :, :, ::-1].transpose(0, 3, 1, 2) / 127.5 - 1, "f4")


def padded(pixels):
    """White to the right and below, to multiples of 32."""
    height, width = (-size % 32 for size in pixels.shape[:2])
    return np.pad(pixels, ((0, height), (0, width), (0, 0)), constant_values=255)


def boxes_of(text):
    """Boxes around what hangs together, from top to bottom."""
    marks, _ = ndimage.label(ndimage.binary_dilation(text > TEXT, iterations=1))
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(marks), 1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if min(height, width) < 4 or text[marks == number].mean() < SURE:
            continue
        grow = height * width * GROWN / (2 * (height + width))
        left, top = max(0, columns.start - grow), max(0, rows.start - grow)
        right = min(text.shape[1], columns.stop + grow)
        boxes.append((left, top, right, min(text.shape[0], rows.stop + grow)))
    return sorted(boxes, key=lambda box: (box[1] + box[3], box[0]))


def lines_of(pixels, boxes):
    """Each box cut out, 48 pixels high; all as wide as the widest, nothing behind their ends."""
    images = []
    for left, top, right, bottom in boxes:
        cut = Image.fromarray(pixels[int(top) : int(bottom + 1), int(left) : int(right + 1)])
        width = max(8, round(cut.width * LINE / cut.height))
        images.append(prepared(np.asarray(cut.resize((width, LINE), Image.Resampling.BILINEAR))))
    widest = max(320, *(-(-image.shape[3] // 32) * 32 for image in images))
    lines = np.zeros((len(images), 3, LINE, widest), np.float32)
    for line, image in zip(lines, images, strict=True):
        line[:, :, : image.shape[3]] = image[0]
    return lines


def decoded(best, sure, letters):
    """Letters, where they change and are not number 0 (CTC), and how sure the least sure is."""
    changes = np.flatnonzero(np.diff(best, prepend=0) != 0)
    kept = [place for place in changes if best[place]]
    text = "".join(letters[best[place]] for place in kept)
    return text.strip(), min((sure[place] for place in kept), default=0.0)
