"""Rules of the model beside it."""


def shout(word):
    return word.upper() + "!"
