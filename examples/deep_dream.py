"""What does a network see? Gradient ascent on an image, so that parts of a small network answer strongly.

A convolutional network learns the digits, then an image of noise is changed until the network is sure of a digit, at
growing sizes, as in "deep dreams" (Mordvintsev et al., 2015).  Writes dream.pgm, a picture, where --save is given.
"""
import sys

import numpy as np

from graphk import backend as K
from graphk.datasets import digits
from graphk.layers import Activation, Conv2D, Dense, GlobalAveragePooling2D, MaxPooling2D
from graphk.models import Sequential

QUICK = "--quick" in sys.argv
DIGIT = 3

np.random.seed(1)
(x_train, y_train), _ = digits.load_data()
x_train = x_train[..., None].astype("float32") / 255
model = Sequential([
    Conv2D(16, 5, activation="relu", padding="same", input_shape=(None, None, 1)), MaxPooling2D(),
    Conv2D(32, 5, activation="relu", padding="same"), MaxPooling2D(),
    Conv2D(32, 5, activation="relu", padding="same"),
    GlobalAveragePooling2D(), Dense(10), Activation("softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=1 if QUICK else 3, verbose=2)

image = model.input
score = K.mean(model.layers[-2].output[:, DIGIT])
rough = K.mean(K.square(image[:, 1:] - image[:, :-1])) + K.mean(K.square(image[:, :, 1:] - image[:, :, :-1]))
gradient = K.gradients(score - 30 * rough, [image])[0]
ascent = K.function([image, K.learning_phase()], [score, gradient / (K.mean(K.abs(gradient)) + K.epsilon())])

dream = np.random.uniform(.4, .6, (1, 28, 28, 1))
for octave in range(3):
    for _ in range(5 if QUICK else 40):
        value, change = ascent([dream, 0])
        dream = np.clip(dream + .02 * change, 0, 1)
    print(f"{dream.shape[1]} x {dream.shape[2]} pixels: the network's answer for {DIGIT} is {value:.2f}")
    if octave < 2:
        dream = dream.repeat(2, axis=1).repeat(2, axis=2)
if "--save" in sys.argv:
    pixels = (dream[0, ..., 0] * 255).astype("uint8")
    with open("dream.pgm", "wb") as f:
        f.write(b"P5 %d %d 255\n" % pixels.shape[::-1] + pixels.tobytes())
    print("wrote dream.pgm")
