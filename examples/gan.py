"""A generative adversarial network (Goodfellow et al., 2014): one model draws digits, one tells them from real ones.

The combined model holds the discriminator's layers in a model of their own that is frozen, so only the generator learns
there.
"""
import sys

import numpy as np

from graphk.datasets import digits
from graphk.layers import BatchNormalization, Dense, Dropout, Input, LeakyReLU
from graphk.models import Model, Sequential
from graphk.optimizers import Adam

QUICK = "--quick" in sys.argv
LATENT, BATCH = 32, 64

np.random.seed(1)
(x_train, _), _ = digits.load_data()
real = x_train.reshape(len(x_train), 784).astype("float32") / 127.5 - 1

generator = Sequential([Dense(128, input_shape=(LATENT,)), LeakyReLU(0.2), BatchNormalization(momentum=0.8),
                        Dense(256), LeakyReLU(0.2), BatchNormalization(momentum=0.8), Dense(784, activation="tanh")])
discriminator = Sequential([Dense(256, input_shape=(784,)), LeakyReLU(0.2), Dropout(0.3), Dense(128), LeakyReLU(0.2),
                            Dropout(0.3), Dense(1, activation="sigmoid")])
discriminator.compile(Adam(0.0002, 0.5), "binary_crossentropy", metrics=["accuracy"])
judge = Model(discriminator.inputs, discriminator.outputs)
judge.trainable = False
noise = Input((LATENT,))
combined = Model(noise, judge(generator(noise)))
combined.compile(Adam(0.0002, 0.5), "binary_crossentropy")

soft_ones, zeros, ones = np.full((BATCH, 1), 0.9), np.zeros((BATCH, 1)), np.ones((BATCH, 1))
for step in range(1, (20 if QUICK else 3000) + 1):
    fakes = generator.predict_on_batch(np.random.normal(0, 1, (BATCH, LATENT)))
    d_real = discriminator.train_on_batch(real[np.random.randint(0, len(real), BATCH)], soft_ones)
    d_fake = discriminator.train_on_batch(fakes, zeros)
    g = combined.train_on_batch(np.random.normal(0, 1, (BATCH, LATENT)), ones)
    if step % (10 if QUICK else 1000) == 0:
        print(f"step {step}: discriminator {(d_real[0] + d_fake[0]) / 2:.3f}, generator {g:.3f}")
images = generator.predict(np.random.normal(0, 1, (4, LATENT))).reshape(4, 28, 28) / 2 + .5
for line in np.concatenate(list(images), axis=1)[::2]:
    print("".join(" .:*#"[min(4, max(0, int(p * 5)))] for p in line))
