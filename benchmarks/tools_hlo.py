"""Single passes of XLA on a module's text, as `hlo-opt --passes=PASSES FILE` runs them: `python tools_hlo.py FILE
PASSES FOLDER`; needs jax alone.

In: the text of a module, such as a dump's `before_optimizations.txt`, and names of passes with commas between (a pass
in a pipeline of its own needs that one's name, too: `simplification,algsimp`).  Out: in FOLDER the text after each of
them that changed something.  `hlo-opt` itself is in no package; jaxlib's compiler takes the same names by
`--xla_enable_hlo_passes_only`, and it is the same code.  It goes on to compile what these passes left, which may fail
or abort, as other passes were to prepare it; so that is a process of its own, and the texts are written by then.
"""
import os
import sys
from pathlib import Path


def compiled(text: str) -> None:
    from jax.extend.backend import get_backend
    from jaxlib import _hlo, _jax, xla_client
    module = _hlo.hlo_module_from_text(text)
    computation = _jax.mlir.xla_computation_to_mlir_module(
        _hlo.XlaComputation(module.as_serialized_hlo_module_proto()))
    cpu = get_backend("cpu")
    cpu.compile_and_load(computation, xla_client.DeviceList(tuple(cpu.local_devices())), xla_client.CompileOptions())


def main() -> None:
    text, passes, folder = Path(sys.argv[1]).read_text(), sys.argv[2], Path(sys.argv[3])
    os.environ["XLA_FLAGS"] = f"--xla_dump_to={folder} --xla_enable_hlo_passes_only={passes} --xla_dump_hlo_pass_re=.*"
    child = os.fork()
    if child == 0:
        compiled(text)
        return
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        print(f"not compiled to its end: status {status}")
    made = [p for p in sorted(folder.glob("*.after_*.before_*")) if ".after_pipeline-start" not in p.name]
    print(*made, sep="\n")
    if not made:
        sys.exit("none of these passes changed anything, or there are none of these names")


if __name__ == "__main__":
    main()
