"""What tools tell of one compiled network: `python -m benchmarks.tools FOLDER [--torch PYTHON --tlparse PROGRAM --jax
PYTHON --netron PYTHON]`.

In: interpreters that have torch (and torchinfo), jax or netron, where they are to be asked.  Out: for ResNet50 and a
user's LSTM script, each question of docs/questions.md with what it took to have it answered: for graphk the command,
seconds and bytes; for the others the file of their output in which the answer stands.  What always holds: an answer
counts where a text that must be in it was found, so nothing is taken from a tool's documentation.  FOLDER keeps all.
"""
from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks import tools_netron
from tests.docs.pages import blocks, read

HERE = Path(__file__).parent
NETS = ("resnet50", "lstm")
OTHERS = ("Netron", "torchinfo", "tlparse", "TORCH_LOGS", "XLA dump", "XLA, single passes")
HLO_PASSES = ("call-inliner", "simplification,algsimp", "fusion")


class Question(NamedTuple):
    """graphk: the command, {m} being the model, {a} and {b} two layers, {k} a kernel and {g} a graph's text; `says`:
    what its answer holds.  The others: (files, what one of them holds)."""
    text: str
    graphk: str = ""
    says: str = ""
    netron: tuple[str, str] | None = None
    torchinfo: tuple[str, str] | None = None
    tlparse: tuple[str, str] | None = None
    logs: tuple[str, str] | None = None
    xla: tuple[str, str] | None = None
    single: tuple[str, str] | None = None


QUESTIONS = (
    Question("layers and parameters", "summary {m}", r"params +trainable", ("netron.txt", r"layers.* parameters \d"),
             ("info.txt", r"Param #")),
    Question("shapes between layers", "summary {m}", r"output shape", torchinfo=("info.txt", r"Output Shape"),
             tlparse=("dynamo_output_graph*", r"f32\["), logs=("logs.txt", r"f32\["),
             xla=("*.jit_{net}.*before_optimizations.txt", r"f32\[")),
    Question("a layer's arguments and weights", "summary --layer {a} {m}", r"kernel_size|input_dim",
             ("netron.txt", r"kernel_size|input_dim"), tlparse=("dynamo_output_graph*", r"conv2d\(.*\(\d, \d\)")),
    Question("which layer feeds which", "summary --layer {a} {m}", r"from \w+ \(", ("netron.txt", r"in input: "),
             tlparse=("dynamo_output_graph*", r"def forward"), logs=("logs.txt", r"TRACED GRAPH"),
             xla=("*.jit_{net}.*before_optimizations.txt", r"ENTRY")),
    Question("values of weights", "summary --layer {a} {m}", r"smallest", ("netron.txt", r"begins with \S*\d")),
    Question("a drawing of the layers", "report --no-times -o page.html {m}", "", ("netron.svg", r"<svg")),
    Question("multiply-adds of each layer", "summary {m}", r"mult-adds", torchinfo=("info.txt", r"Mult-Adds")),
    Question("memory that a call needs", "memory {m}", r"arena", torchinfo=("info.txt", r"Estimated Total Size"),
             xla=("*.jit_{net}.*memory-usage-report.txt", r"Total bytes")),
    Question("which values share a place, and when", "memory --slots --phase predict {m}", r"shared by \d+ buffers",
             xla=("*.jit_{net}.*buffer-assignment.txt", r"offset=")),
    Question("what runs, in which order", "dump --out - --after memory --phase predict {m}", r"step \w+",
             tlparse=("inductor_output_code*", r"(extern_kernels|cpp_fused)\w*"),
             xla=("*.jit_{net}.*after_optimizations.txt", r"ENTRY")),
    Question("the graph before the compiler", "dump --out - --after captured --phase predict {m}", r"graph ",
             tlparse=("dynamo_output_graph*", r"def forward"), logs=("logs.txt", r"TRACED GRAPH"),
             xla=("*.jit_{net}.*before_optimizations.txt", r"ENTRY")),
    Question("the graph after each pass", "dump --out stages --format text {m}", "",
             tlparse=("inductor_post_grad_graph*", r"def forward"),
             xla=("*.jit_{net}.*after_fusion.before_*", r"fusion")),
    Question("one pass alone, on a text", "opt --passes simplify {g}", r"graph ", single=("module_*", r"ENTRY")),
    Question("the rule that made a change", "diff captured simplify --phase predict {m}", r"\d+ by \w+"),
    Question("which ops share a kernel", "diff slices fuse --phase predict {m}", r"fuse",
             tlparse=("inductor_output_code*", r"Original ATen"), logs=("logs.txt", r"fusing|can_fuse|fused"),
             xla=("*.jit_{net}.*after_optimizations.txt", r"calls=%fused")),
    Question("why two layers share no kernel", "why {a} {b} --phase predict {m}", r"apart: |different kernels",
             logs=("logs.txt", r"cannot fuse .+: .+")),
    Question("the layer or line of a kernel", "kernel --phase predict {m}", "{a}",
             tlparse=("inductor_output_code*", r"Source [Nn]odes|File:"),
             xla=("*.jit_{net}.*after_optimizations.txt", r"op_name=")),
    Question("a kernel's loops or source", "kernel {k} --source --phase predict {m}", r"def k_0",
             tlparse=("inductor_output_code*", r"for\(int64_t"), xla=("*.jit_{net}.*ir-no-opt.ll", r"define")),
    Question("its LLVM IR", "kernel {k} --llvm --phase predict {m}", r"define",
             xla=("*.jit_{net}.*ir-with-opt.ll", r"define")),
    Question("its machine code", "kernel {k} --asm --phase predict {m}", r"\.globl",
             xla=("*.jit_{net}.*.o", r"^\x7fELF")),
    Question("its code on a GPU, without one", "kernel {k} --target cuda --phase predict {m}", r"cuda\."),
    Question("its code on another processor", "kernel {k} --asm --target avx2 --phase predict {m}", r"ymm|xmm"),
    Question("time of each kernel and layer", "profile --phase predict {m}", r"x floor"),
    Question("bound by memory or arithmetic", "cost --phase predict {m}", r"bound by"),
    Question("time of each stage of compiling", "dump --out stages --format text {m}", "",
             tlparse=("chromium_events.json", r"\"dur\"|\"ph\"")),
    Question("why it was compiled again, or not whole", "run {m}", r"recompile: ",
             tlparse=("*", r"Graph Break Reason|Restarted|No failures"),
             logs=("logs.txt", r"[Rr]ecompil|[Gg]raph break")),
    Question("one thing to send", "report --no-times -o page.html {m}", "", tlparse=("index.html", r"<html|<div")),
)


def timed(command: list[str], folder: Path, log: str, env: dict[str, str] | None = None) -> tuple[float, str]:
    """Processor seconds and output of a command, which is kept in a file; RuntimeError where it fails."""
    start = _children()
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **(env or {})})
    seconds = _children() - start
    (folder / log).write_text(run.stdout + run.stderr)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}: {run.stderr[-2000:]}")
    return seconds, run.stdout + run.stderr


def _children() -> float:
    """Processor seconds of all processes that were waited for, so that other work on the machine counts little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def models(folder: Path) -> dict[str, tuple[str, str, str]]:
    """Net -> its file, two of its layers; the files are made."""
    from graphk.applications.resnet50 import ResNet50
    ResNet50(weights=None).save(folder / "resnet50.h5")
    script = next(b.code for b in blocks(read("inspection.md")) if b.code.startswith("# lstm.py"))
    (folder / "lstm.py").write_text(script)
    saved = "import graphk, runpy; graphk.install_as_keras(); runpy.run_path('lstm.py')['model'].save('lstm.h5')"
    timed([sys.executable, "-c", saved], folder, "lstm-saved.txt")
    return {"resnet50": ("resnet50.h5", "res2a_branch2a", "res2a_branch2b"),
            "lstm": ("lstm.py", "embedding_1", "lstm_1")}


def of_graphk(folder: Path, net: str, model: tuple[str, str, str]) -> dict[str, str]:
    """Question -> what the answer took."""
    file, a, b = model
    graphk = [sys.executable, "-m", "graphk"]
    shown = timed([*graphk, "kernel", "--phase", "predict", file], folder, f"graphk-{net}.txt")[1]
    kernel = next(line.split()[0] for line in shown.splitlines() if re.match(r"k\d+ ", line))
    captured = ["dump", "--out", "-", "--after", "captured", "--phase", "predict", file]
    (folder / "g.gk").write_text(timed([*graphk, *captured], folder, "g.txt")[1])
    out = {}
    for i, q in enumerate(QUESTIONS):
        words = q.graphk.format(m=file, a=a, b=b, k=kernel, g="g.gk").split()
        if words[0] == "run" and not file.endswith(".py"):                    # a file is compiled once
            continue
        shutil.rmtree(folder / "stages", ignore_errors=True)
        seconds, text = timed([*graphk, *words], folder, f"graphk-{net}-{i}.txt", {"GRAPHK_LOG": "recompile"}
                              if words[0] == "run" else None)
        if not re.search(q.says.format(a=a), text):
            raise RuntimeError(f"graphk {' '.join(words)} does not say {q.says!r}")
        size = len(text.encode()) + sum(p.stat().st_size for p in (folder / "stages").rglob("*") if p.is_file())
        size += (folder / "page.html").stat().st_size if "page.html" in words else 0
        out[q.text] = f"1 command, {seconds:.1f} s, {size / 1e3:.1f} kB"
    return out


def found(folder: Path, where: tuple[str, str] | None, net: str) -> str:
    """The smallest file that holds the answer, and how many match; "" where none does."""
    if where is None:
        return ""
    files, text = where
    function = {"resnet50": "resnet"}.get(net, net)
    hits = [p for p in folder.rglob(files.format(net=function)) if p.is_file()
            and re.search(text, p.read_bytes().decode("latin-1"), re.MULTILINE)]
    if not hits:
        return ""
    first = min(hits, key=lambda p: p.stat().st_size)
    more = f" and {len(hits) - 1} more" if len(hits) > 1 else ""
    return f"{first.relative_to(folder)}{more}, {first.stat().st_size / 1e3:.0f} kB"


def of_torch(folder: Path, net: str, batch: int, python: str, tlparse: str) -> dict[str, Path]:
    """Tool -> the folder of what it said."""
    script, out = [python, str(HERE / "tools_torch.py"), net, str(batch)], {}
    fresh = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    for tool in OTHERS[1:4]:
        out[tool] = folder / f"{tool}-{net}"
        shutil.rmtree(out[tool], ignore_errors=True)
        out[tool].mkdir()
    seconds, _ = timed([*script, "info"], out["torchinfo"], "info.txt")
    print(f"{net}: torchinfo: 1 command (5 lines of Python), {seconds:.1f} s")
    seconds, said = timed(script, out["TORCH_LOGS"], "logs.txt", {**fresh, "TORCH_LOGS": "fusion,graph_code,recompiles,"
                                                                  "graph_breaks"})
    print(f"{net}: TORCH_LOGS: 1 command, {seconds:.1f} s, {len(said) / 1e3:.0f} kB")
    trace = out["tlparse"].with_name(f"trace-{net}")
    shutil.rmtree(trace, ignore_errors=True)
    seconds, _ = timed(script, folder, f"trace-{net}.txt", {**fresh, "TORCH_TRACE": str(trace)})
    raw, = trace.iterdir()
    more, _ = timed([tlparse, str(raw), "-o", str(out["tlparse"]), "--overwrite", "--no-browser"], folder,
                    "tlparse.txt")
    files = [p for p in out["tlparse"].rglob("*") if p.is_file()]
    print(f"{net}: tlparse: 2 commands, {seconds:.1f} + {more:.1f} s, {len(files)} files of "
          f"{sum(p.stat().st_size for p in files) / 1e6:.1f} MB")
    return out


def of_xla(folder: Path, net: str, batch: int, python: str) -> Path:
    """The folder of the dump."""
    out = folder / f"xla-{net}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    seconds, _ = timed([python, str(HERE / "tools_jax.py"), net, str(batch)], folder, f"xla-{net}.txt", {
        "XLA_FLAGS": f"--xla_dump_to={out} --xla_dump_hlo_pass_re=.*"})
    files = list(out.iterdir())
    print(f"{net}: XLA dump: 1 command, {seconds:.1f} s, {len(files)} files of "
          f"{sum(p.stat().st_size for p in files) / 1e6:.1f} MB")
    return out


def of_single_passes(folder: Path, net: str, python: str) -> Path:
    """The folder of what single passes made of the text that XLA's dump begins with."""
    out = folder / f"passes-{net}"
    shutil.rmtree(out, ignore_errors=True)
    function = {"resnet50": "resnet"}.get(net, net)
    text, = (folder / f"xla-{net}").glob(f"*.jit_{function}.before_optimizations.txt")
    for names in HLO_PASSES:
        place = out / names
        place.mkdir(parents=True)
        seconds, said = timed([python, str(HERE / "tools_hlo.py"), str(text), names, str(place)], folder,
                              f"passes-{net}.txt")
        print(f"{net}: XLA's {names} alone: 1 command, {seconds:.1f} s, {said.count('.after_')} texts")
    return out


def of_netron(folder: Path, net: str, python: str) -> Path:
    """The folder of what it said and drew."""
    out = folder / f"netron-{net}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    file = folder / f"{net}.h5"
    seconds, said = timed(tools_netron.command(python, file), out, "netron.txt")
    print(f"{net}: Netron: read in {seconds:.1f} s, {len(said) / 1e3:.0f} kB of text; "
          f"{tools_netron.drawn(python, file, out / 'netron')}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools", description=__doc__)
    parser.add_argument("folder", type=Path)
    for name in ("torch", "tlparse", "jax", "netron"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    no_netron = tools_netron.missing(args.netron)
    if no_netron:
        print(f"Netron is not asked: {no_netron}")
    for net, model in models(folder).items():
        places: dict[str, Path] = {}
        if not no_netron:
            places["Netron"] = of_netron(folder, net, args.netron)
        if args.torch and args.tlparse:
            places = of_torch(folder, net, args.batch, args.torch, args.tlparse)
            if net == "lstm":
                places = {**places, **{k: v for k, v in of_torch(folder, "lstm-cells", args.batch, args.torch,
                                                                 args.tlparse).items() if k != "torchinfo"}}
        if args.jax:
            places["XLA dump"] = of_xla(folder, net, args.batch, args.jax)
            places["XLA, single passes"] = of_single_passes(folder, net, args.jax)
        answers = of_graphk(folder, net, model)
        for q in QUESTIONS:
            print(f"{net}: {q.text}\n    graphk: {answers.get(q.text, '-')}")
            for tool, where in zip(OTHERS, (q.netron, q.torchinfo, q.tlparse, q.logs, q.xla, q.single)):
                if tool in places:
                    print(f"    {tool}: {found(places[tool], where, net) or '-'}", flush=True)


if __name__ == "__main__":
    main()
