"""Inspection: every stage of a compilation, as a page, as files, as tables.

In: a model, or what `K.function` returns.  Out: `report` writes one HTML page, `dump` a folder of text files, `passes`
gives the table of the passes, `summary` that of the layers (`layer` one), `cost` and `profile` those of the kernels,
`memory` that of the arenas; the others are the commands of these names.  What always holds: nothing is changed by
looking (what is timed runs on copies); no weight is written anywhere but by `export`; importing graphk, or this
package, loads none of it until one of the functions is called.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Mapping, Sequence

if TYPE_CHECKING:
    from graphk.inspection.costing import CostTable, Profile
    from graphk.inspection.facts import PassTable, Told
    from graphk.inspection.layer_card import LayerCard
    from graphk.inspection.layers import Summary
    from graphk.inspection.optimizing import Optimized


def report(model_or_function: Any, path: str | os.PathLike[str], batch: int = 32,
           dims: Mapping[str, int] | None = None, times: bool = True, phase: str | None = None,
           target: str | None = None) -> str:
    """Write one self-contained HTML page about a model or function; returns its path.

    batch: the number of samples for which sizes, times and memory are shown; dims: values of other symbolic dims by
    name (16 unless given); times: measure each step, on copies of the weights and random inputs (a few seconds), where
    the target is this machine; phase: this graph alone (train, test, predict); target: for whom kernels and memory are
    shown: `cpu` (this one), cuda, scalar, sse, avx2, avx512, or LLVM's name of a processor; by default the device that
    runs it.  TypeError for anything but a model or function, ValueError for an unknown phase or target.

    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> page = report(K.function([x], [K.softmax(x)]), os.path.join(tempfile.mkdtemp(), "softmax.html"))
    >>> "kernel" in Path(page).read_text()
    True
    """
    from graphk.inspection.page import report as write
    return write(model_or_function, path, batch, dims, times, phase, target)


def dump(model_or_function: Any, directory: str | os.PathLike[str], formats: Sequence[str] = ("text", "dot", "json",
                                                                                              "html"),
         after: str | None = None, kernels: bool = True, batch: int = 32, phase: str | None = None,
         target: str | None = None) -> str:
    """Write every stage into `directory`, a folder per compiled graph, and `index.html`; returns the directory.

    formats: which of text, dot, json, html, svg; after: only what this pass made; kernels: LLVM IR and assembly (PTX),
    too (each kernel is compiled once more for them); phase: this graph alone (train, test, predict); target: whose code
    and memory, as for `report`; what passes make is the same for all.  ImportError for PTX without numba-cuda.
    """
    from graphk.inspection.dumping import Options
    from graphk.inspection.dumping import dump as write
    from graphk.inspection.subjects import of_phase
    options = Options(tuple(formats), after, kernels, batch, lambda s: s.on(target))
    return write(of_phase(model_or_function, phase, target), directory, options)


def passes(model_or_function: Any) -> "PassTable":
    """The passes of each compiled graph: nodes before and after, groups, milliseconds; prints as a table.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> [row.name for row in passes(K.function([x], [x + x]))][:2]
    ['specialize', 'scans']
    """
    from graphk.inspection.facts import PassTable, pass_rows
    from graphk.inspection.subjects import subjects_of
    return PassTable(row for s in subjects_of(model_or_function) for row in pass_rows(s))


def export(model: Any, directory: str | os.PathLike[str], name: str = "network", batches: Sequence[int] = (1,),
           dims: Mapping[str, int] | None = None, cpu: str = "host", triple: str = "",
           compiler: str | None = None) -> str:
    """Compile a model's prediction ahead of time, as a C library that needs no Python; returns the library's path.

    `directory` is made, and gets `lib<name>.so`, `<name>.h`, the driver `<name>.c`, the kernels' objects, the weights
    and `example.c`.  batches: the numbers of samples that the library can be called with; dims: values of other open
    sizes by name (16 unless given); cpu: `host`, `scalar`, `sse`, `avx2`, `avx512`, or LLVM's name of a processor;
    triple: of another machine; compiler: a C compiler (default: cc, gcc or clang; for another machine none, and then
    the driver's path is returned).  ValueError for an unknown processor or size, RuntimeError where `directory` exists
    or linking fails.

    >>> import os, tempfile
    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> model = Sequential([Dense(2, input_shape=(3,))])
    >>> made = export(model, os.path.join(tempfile.mkdtemp(), "net"), compiler="")
    >>> os.path.basename(made)
    'network.c'
    """
    from graphk.inspection.exporting import export as write
    return write(model, directory, name, batches, dims, cpu, triple, compiler)


def opt(graph: Any, names: Sequence[str] | None = None, phase: str = "test") -> "Optimized":
    """A Graph or a Program (or the text of one) after some passes, by default all that it has not been through: `ir` is
    what the last made, `milliseconds` the times.

    phase: train or test. ValueError for an unknown pass, one out of order, or one that lacks what an earlier one
    ensures; `graphk.ir.text.ParseError` for text that is neither.

    >>> made = opt("graph g(%x: f32[n,3]) { %0 = exp(%x) %1 = log(%0) return %1 }", ["simplify"])
    >>> made.ir.outputs == made.ir.inputs, [name for name, ms in made.milliseconds]
    (True, ['simplify'])
    """
    from graphk.inspection.optimizing import optimize, parsed
    if phase not in ("train", "test"):
        raise ValueError(f"phase is {phase!r}; expected 'train' or 'test'")
    return optimize(parsed(graph) if isinstance(graph, str) else graph, names, int(phase == "train"))


def diff(model_or_function: Any, first: str, last: str, phase: str | None = None) -> "Told":
    """A `Diff` per compiled graph: which nodes the passes after `first` (`captured`: all), up to `last`, removed, added
    and replaced, with rules, layers and the user's lines.

    ValueError for an unknown pass or phase, or the wrong order.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> found, = diff(K.function([x], [K.log(K.exp(x))]), "captured", "simplify")
    >>> [(c.kind, c.rules[0]) for c in found.changes]
    [('replaced', 'simplify: log-exp'), ('removed', 'simplify: log-exp')]
    """
    from graphk.inspection.changes import diff as between
    from graphk.inspection.facts import Told
    from graphk.inspection.subjects import of_phase
    return Told(between(s, first, last) for s in of_phase(model_or_function, phase))


def why(model_or_function: Any, a: str, b: str, phase: str | None = None, batch: int = 32) -> "Told":
    """An `Answer` per compiled graph that has both: whether the layers, nodes or kernels `a` and `b` share a kernel,
    and the rules that joined them or kept them apart.

    ValueError where no graph has both; it lists what there is.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> answer, = why(K.function([x], [K.exp(K.sum(K.square(x), axis=1))]), "%0", "%1")
    >>> answer.together, answer.reasons[0]
    (True, '%0 joined %1 (sum): one reduce kernel')
    """
    from graphk.inspection.apart import why as asked
    from graphk.inspection.facts import Told
    from graphk.inspection.subjects import of_phase
    answers, failure = [], ValueError("there is no compiled graph")
    for s in of_phase(model_or_function, phase):
        try:
            answers.append(asked(s, a, b, batch))
        except ValueError as e:
            failure = e
    if not answers:
        raise failure
    return Told(answers)


def kernel(model_or_function: Any, name: str | None = None, what: str = "text", phase: str | None = None,
           batch: int = 32, target: str | None = None) -> "Told":
    """The kernels called `name`, or of the layer `name`, as texts: `what` is text, source, llvm, asm, cuda or ptx;
    without a name, a table.

    target: whose code it is, as for `report`; for `cuda`, source is CUDA source and asm PTX.  ValueError for an unknown
    kernel, `what`, phase or target; ImportError for ptx where the package numba-cuda is missing.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> "def k_0(args, tid, nt):" in str(kernel(K.function([x], [K.softmax(x)]), "k0", "source"))
    True
    """
    from graphk.inspection.facts import Told
    from graphk.inspection.kernels import VIEWS, Kernels, views_for
    from graphk.inspection.subjects import of_phase
    if what not in VIEWS:
        raise ValueError(f"a kernel has no view {what!r}; expected one of {', '.join(VIEWS)}")
    subjects = of_phase(model_or_function, phase, target)
    what, = views_for(subjects, [what])
    kernels = Kernels(subjects, batch)
    return Told([kernels.table()] if name is None else [kernels.text(k, what) for k in kernels.find(name)])


def summary(model: Any, batch: int = 32, dims: Mapping[str, int] | None = None, phase: str | None = None,
            target: str | None = None) -> "Summary":
    """The layers of a model: output shapes, parameters, and the multiply-adds, FLOPs and bytes (read and written) of
    one call with `batch` samples, from its compiled graphs; and the bytes of memory that calls of several sizes need.

    dims: values of other symbolic dims by name (16 unless given).  Prints as tables; in a notebook it is one.  Where
    the model is compiled, training is counted, too; phase: this graph alone (train, test, predict); target: whose
    memory, as for `report`; operations and bytes are the same for all.  TypeError for anything but a model,
    RuntimeError if it is not built.

    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> found = summary(Sequential([Dense(4, input_shape=(8,), name="first")]), batch=10)
    >>> found.layers[0].costs[0].macs, found.total.params
    (320.0, 36)
    """
    from graphk.inspection.layers import summary as make
    return make(model, batch, dims, phase, lambda s: s.on(target))


def layer(model: Any, name: str) -> "LayerCard":
    """One layer of a model or of a model inside it (`MODEL/LAYER` where several have the name): its config, what each
    of its calls read (layer and shape), made and was read by, and the smallest, largest and mean of each weight.

    Nothing is compiled.  TypeError for anything but a model, RuntimeError if it is not built, ValueError for a name
    that no layer has, or several.

    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> found = layer(Sequential([Dense(4, input_shape=(8,), name="first"), Dense(2, name="last")]), "first")
    >>> found.config["units"], found.calls[0][2], found.weights[1].shape
    (4, ('last',), (4,))
    """
    from graphk.inspection.layer_card import layer_card
    return layer_card(model, name)


def cost(model_or_function: Any, batch: int = 32, dims: Mapping[str, int] | None = None,
         phase: str | None = None, target: str | None = None, roof: tuple[float, float] | None = None) -> "CostTable":
    """What each kernel call and each layer computes (FLOPs) and moves (bytes), and the seconds that this takes at least
    under this machine's roofline: a peak from the target's vectors and the measured clock, a measured bandwidth.

    Nothing of the model is run; the benchmarks take a second, once in a process.  One `GraphCosts` for each compiled
    graph (phase: this one alone), whose `lines` are in the order in which they run; prints as tables, the longest
    first.  target: whose vectors, as for `report`; roof: the FLOPs and the bytes that the machine which is meant
    reaches in a second, without which one that is not this has no floors.  TypeError for anything but a model or
    function.

    >>> from graphk import backend as K
    >>> x, y = K.placeholder(shape=(None, 4)), K.placeholder(shape=(4, 5))
    >>> table = cost(K.function([x, y], [K.dot(x, y)]), batch=10)
    >>> table[0].lines[0].flops
    400
    """
    from graphk.inspection.costing import CostTable, graph_costs
    from graphk.inspection.subjects import of_phase, sized
    return CostTable(graph_costs(s, env, roof=roof)
                     for s, env in sized(of_phase(model_or_function, phase, target), batch, dims))


def memory(model_or_function: Any, batch: int = 32, dims: Mapping[str, int] | None = None, slots: bool = False,
           phase: str | None = None, target: str | None = None) -> "Told":
    """What each compiled graph needs of memory for one call: the arena and what sharing its bytes saves, workspace,
    packed weights, variables, inputs and outputs; slots: and what lies where in the arena, from when to when.

    Nothing is run.  target: whose workspace and packed weights, as for `report`; a GPU's kernels need neither.
    ValueError for an unknown phase or target, TypeError for anything but a model or function.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> str(memory(K.function([x], [K.softmax(x)]), batch=10)).split()[:3]
    ['graph', 'sizes', 'arena']
    """
    from graphk.inspection.facts import Told
    from graphk.inspection.subjects import of_phase, sized
    from graphk.inspection.usage import Usage
    return Told([Usage.table(sized(of_phase(model_or_function, phase, target), batch, dims), slots)])


def profile(model_or_function: Any, batch: int = 32, dims: Mapping[str, int] | None = None,
            phase: str | None = None, target: str | None = None) -> "Profile":
    """`cost` with the measured seconds of each step and each layer, on random inputs and copies of the variables.

    Takes about a second for each compiled graph.  `profile(model).trace("trace.json")` writes Chrome trace events.
    target: whose code runs, as for `report`, if it runs on this machine.  TypeError for anything but a model or
    function; ValueError where variables take more than a gibibyte, or the target is not here.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> found = profile(K.function([x], [K.softmax(x)]))
    >>> found[0].call > 0 and all(line.time >= 0 for line in found[0].lines)
    True
    """
    from graphk.inspection.costing import Profile, graph_costs
    from graphk.inspection.subjects import of_phase, sized
    return Profile(graph_costs(s, env, timed=True)
                   for s, env in sized(of_phase(model_or_function, phase, target), batch, dims))


def check(file: str | os.PathLike[str]) -> bool:
    """Print what a model file holds, or all that is wrong with it; whether graphk reads it.

    >>> import os, tempfile
    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> file = os.path.join(tempfile.mkdtemp(), "m.h5")
    >>> Sequential([Dense(2, input_shape=(3,))]).save(file)
    >>> check(file)                             # doctest: +ELLIPSIS
    /...m.h5: graphk reads this file
    ...
    True
    """
    from graphk.inspection import files
    return files.check(os.fspath(file)) == 0


def convert(file: str | os.PathLike[str], out: str | os.PathLike[str],
            weights: str | os.PathLike[str] | None = None) -> None:
    """Write the model of one file in the format that the other's ending names: .h5, .keras, .weights.h5, .json, .yaml,
    .onnx or .safetensors.

    weights: a file of weights for a `file` that holds the architecture alone.  ValueError naming the file at fault.

    >>> import os, tempfile
    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> folder = tempfile.mkdtemp()
    >>> model = Sequential([Dense(2, input_shape=(3,))])
    >>> model.compile("sgd", "mse")
    >>> model.save(os.path.join(folder, "m.h5"))
    >>> convert(os.path.join(folder, "m.h5"), os.path.join(folder, "m.json"))
    >>> sorted(os.listdir(folder))
    ['m.h5', 'm.json']
    """
    from graphk.inspection import files
    files.convert(os.fspath(file), os.fspath(out), None if weights is None else os.fspath(weights))


def doctor() -> bool:
    """Print versions, processor, cache and GPU, and try whether graphk works here; whether it does."""
    from graphk.inspection.installation import doctor as examine
    return examine() == 0


def cache(clear: bool = False) -> str:
    """What the kernel cache holds, as a table; clear: empty it, and say what was removed.

    >>> "kernels" in cache()
    True
    """
    from graphk.inspection.cached import told
    return told(clear)


def run(script: str | os.PathLike[str], *arguments: str, tensorflow: bool = False) -> None:
    """Run a Keras script as `python script arguments` would, in this process, with `import keras` giving graphk.

    tensorflow: `tensorflow.keras` means graphk, too.  What the script raises is raised, after its traceback was
    printed.
    """
    from graphk.inspection.script import run_script
    run_script(os.fspath(script), arguments, tensorflow)


__all__ = ["cache", "check", "convert", "cost", "diff", "doctor", "dump", "export", "kernel", "layer", "memory", "opt",
           "passes", "profile", "report", "run", "summary", "why"]
