"""Vision: convolutions find the lines of text on a page, and read them.

One network marks every pixel that belongs to text; boxes are drawn around what hangs together; a
second network reads each box, letter by letter. How many lines a page has nobody knows beforehand,
so a Python model goes the whole way and calls both networks through the cluster.
"""
