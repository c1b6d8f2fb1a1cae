"""A network of `benchmarks.tools` through XLA: `python tools_jax.py NAME BATCH`; needs jax alone.

Compiles it and prints how long that took; XLA_FLAGS says what is dumped.  Parameters are arguments, so that nothing of
the network is a constant.
"""
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

RANDOM = np.random.RandomState(0)
BLOCKS = [(mid, stride if i == 0 else 1, i == 0) for mid, count, stride in
          ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)) for i in range(count)]


def weights(*shape: int):
    return jnp.asarray(RANDOM.randn(*shape).astype("float32") * 0.05)


def conv_weights(size: int, a: int, b: int):
    return weights(size, size, a, b), weights(b), weights(b)


def conv(p, x, stride: int = 1):
    """A convolution, and its normalization as testing computes it."""
    return lax.conv_general_dilated(x, p[0], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                                    ) * p[1] + p[2]


def resnet_weights():
    blocks, channels = [], 64
    for mid, _, first in BLOCKS:
        blocks.append([conv_weights(1, channels, mid), conv_weights(3, mid, mid), conv_weights(1, mid, 4 * mid)]
                      + ([conv_weights(1, channels, 4 * mid)] if first else []))
        channels = 4 * mid
    return conv_weights(7, 3, 64), blocks, weights(2048, 1000), weights(1000)


def resnet(p, x):
    stem, blocks, kernel, bias = p
    with jax.named_scope("stem"):
        x = lax.reduce_window(jax.nn.relu(conv(stem, x, 2)), -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    for i, (own, (_, stride, _)) in enumerate(zip(blocks, BLOCKS)):
        with jax.named_scope(f"block{i}"):
            y = jax.nn.relu(conv(own[0], x, stride))
            y = conv(own[2], jax.nn.relu(conv(own[1], y)))
            x = jax.nn.relu(y + (conv(own[3], x, stride) if len(own) > 3 else x))
    return jax.nn.softmax(x.mean((1, 2)) @ kernel + bias)


def lstm(p, ids):
    table, kernel, recurrent, bias, last, offset = p
    x = table[ids]

    def step(carry, now):
        h, c = carry
        i, f, g, o = jnp.split(now @ kernel + h @ recurrent + bias, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None
    zero = jnp.zeros((x.shape[0], 32))
    (h, _), _ = lax.scan(step, (zero, zero), x.swapaxes(0, 1))
    return jax.nn.sigmoid(h @ last + offset)


def main() -> None:
    name, batch = sys.argv[1], int(sys.argv[2])
    if name == "resnet50":
        net, p, x = resnet, resnet_weights(), jnp.zeros((batch, 224, 224, 3))
    else:
        net, x = lstm, jnp.zeros((batch, 20), int)
        p = [weights(*s) for s in ((1000, 32), (32, 128), (32, 128), (128,), (32, 1), (1,))]
    start = time.perf_counter()
    jax.jit(net).lower(p, x).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
