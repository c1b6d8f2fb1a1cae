"""The C texts of an exported program; `@word@` stands for what `graphk.runtime.aot` fills in.

In: nothing.  Out: templates of a header, a driver and an example, and C's spelling of names and types.  What always
holds: the driver needs a C99 compiler with GNU's `asm`, and the C library.
"""
from __future__ import annotations

import re
from typing import Iterable

_TYPES = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t", "uint32": "uint32_t",
          "bool": "unsigned char"}
_TAKEN = frozenset("auto break case char const continue default do double else enum extern float for goto if inline "
                   "int long register restrict return short signed sizeof static struct switch typedef union unsigned "
                   "void volatile while m a main batch argc argv NULL stdin stdout stderr FILE EOF fread fwrite printf "
                   "fprintf room aligned_alloc calloc malloc realloc free exit abort memcpy memset memmove strlen "
                   "size_t int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t asm unix linux".split())


def c_type(dtype: str) -> str:
    """C's name of a dtype."""
    return _TYPES[dtype]


def identifier(name: str) -> str:
    """A name as C has them."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    text = text if text[:1].isalpha() else f"x{text}"
    return f"{text}_" if text in _TAKEN else text


def distinct(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Identifiers for names, no two alike, and none of those that are `taken`."""
    out: list[str] = []
    for name in map(identifier, names):
        while name in taken or name in out or re.fullmatch(r"t\d+|run_\d+|gk\w*[^_]", name):      # the driver's own
            name += "_"
        out.append(name)
    return out


HEADER = """\
/* @name@: a network compiled by graphk for @cpu@.  Needs no Python.

   Sizes (row by row, C order):
@shapes@ */
#ifndef GRAPHK_@NAME@_H
#define GRAPHK_@NAME@_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct @name@ @name@;

/* A network with its memory; NULL where there is no memory left.  One for each thread that calls it. */
@name@ *@name@_open(void);

/* Run it on a batch of one of the sizes @batches@; 0 if it ran, -1 if it knows no such size. */
int @name@_predict(@name@ *m, int64_t batch, @ends@);

/* Give the memory back. */
void @name@_close(@name@ *m);

#ifdef __cplusplus
}
#endif
#endif
"""
SOURCE = """\
/* Written by graphk; @name@.h says how it is used. */
#include "@name@.h"
#include <stdlib.h>
#include <string.h>

struct @name@ { char *memory, *panels, *state; };

__asm__(".pushsection .rodata\\n.balign 64\\n@name@_weights:\\n.incbin \\"@name@.weights\\"\\n.popsection");
extern const char @name@_weights[] __attribute__((visibility("hidden")));

@kernels@

static char *room(size_t bytes) {
  return (char *)aligned_alloc(64, (bytes + 63) / 64 * 64);
}

@bodies@

@name@ *@name@_open(void) {
  @name@ *m = (@name@ *)calloc(1, sizeof *m);
  if (!m) return 0;
  m->memory = room(@memory@);
  m->panels = room(@panels@);
  m->state = room(@state@);
  if (!m->memory || !m->panels || !m->state) { @name@_close(m); return 0; }
@load_state@
@pack@
  return m;
}

int @name@_predict(@name@ *m, int64_t batch, @ends@) {
  switch (batch) {
@cases@
    default: return -1;
  }
}

void @name@_close(@name@ *m) {
  if (!m) return;
  free(m->memory);
  free(m->panels);
  free(m->state);
  free(m);
}
"""
EXAMPLE = """\
/* Reads the inputs of a batch of @first@ from standard input, writes the outputs to standard output (raw, in C order):
     cc example.c -L. -l@name@ -Wl,-rpath,'$ORIGIN' -o example && ./example < inputs.bin > outputs.bin */
#include <stdio.h>
#include "@name@.h"

int main(int argc, char **argv) {
@declare@
  if (argc > 1) {
    fprintf(stderr, "usage: %s < inputs.bin > outputs.bin\\n%s: unexpected argument: it takes none\\n", argv[0],
            argv[1]);
    return 2;
  }
  @name@ *m = @name@_open();
  if (!m) return 1;
@read@
  if (@name@_predict(m, @first@, @names@)) return 4;
@write@
  @name@_close(m);
  return 0;
}
"""

__all__ = ["EXAMPLE", "HEADER", "SOURCE", "c_type", "distinct", "identifier"]
