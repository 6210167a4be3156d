"""Feed-forward networks: layers, activations, losses, and back-propagation written out by hand.

A layer is h = f(Wx + b); without the activation f any number of layers would be one. Training moves
each weight against the gradient of the loss, which back-propagation finds layer by layer, from the
last to the first. Everything here is numpy; PyTorch checks the gradients, and exports.
"""
