"""Vision: convolutions name what is on a photograph, and find and read the text on a page.

EfficientNet looks at a square of 224 pixels and says which of a thousand things it shows. For a
page, one network marks every pixel that belongs to text; boxes are drawn around what hangs
together; a second network reads each box, letter by letter. How many lines a page has nobody knows
beforehand, so a Python model goes the whole way and calls both networks through the cluster.
"""
