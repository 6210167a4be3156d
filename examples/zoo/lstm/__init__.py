"""LSTM: a recurrent network whose gates say what to keep, what to add, and what to show.

A cell c is carried through time. At each step a forget gate f scales it down, an input gate i adds
something new, and an output gate o shows a part of it. All of them are between 0 and 1, learned,
and outputs of the served model, so that one can watch them while nine men say "ae".
"""
