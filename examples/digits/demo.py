"""The whole cluster at work: start it, send it 360 handwritten digits, show what came back.

Version 2 of the model is cut into two stages, so each request passes the gateway and two worker
processes. Needs the extras ``server`` and ``onnx``; neither torch nor training.

    python examples/digits/demo.py                  what `make demo` runs
    python examples/digits/demo.py --kill worker    the same while a worker is killed
"""

import argparse
import asyncio
import sys
from pathlib import Path

import numpy as np
from cluster import Cluster, ClusterFailed, kill
from drawing import draw_digits, draw_paths, draw_summary
from load import Answers, Labels, Question, ask_all
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

HERE = Path(__file__).parent
ENOUGH = 0.97


def main() -> int:
    """Run the demo; 0 when every request was answered and enough of them rightly."""
    options = _options()
    console = Console(highlight=False)
    try:
        return asyncio.run(_demo(console, options))
    except ClusterFailed as failure:
        console.print(f"[red]✗[/] {failure}")
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; the cluster is stopped.")
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="times that each image is sent")
    parser.add_argument("--clients", type=int, default=32, help="requests in flight")
    parser.add_argument("--version", default="2", help="of the model (2: two stages)")
    parser.add_argument("--models", type=Path, default=HERE / "models", help="the repository")
    parser.add_argument("--kill", choices=["worker", "scheduler"], help="SIGKILL it under load")
    return parser.parse_args()


async def _demo(console: Console, options: argparse.Namespace) -> int:
    heldout = np.load(HERE / "heldout.npz")
    images, labels = heldout["images"], heldout["labels"]
    console.rule("[bold]Penstock: handwritten digits through a cluster", align="left")
    cluster = Cluster(options.models)
    try:
        with console.status("Starting Valkey, scheduler, node, workers and gateway ..."):
            await cluster.start()
        console.print(f"[green]✓[/] Cluster ready in {cluster.seconds:.1f} s at {cluster.address}")
        question = Question("digits", options.version, images)
        answers = await _load(console, cluster, question, options)
    finally:
        with console.status("Stopping the cluster ..."):
            seconds = await cluster.stop()
    draw_digits(console, images, labels, answers)
    draw_summary(console, labels, answers)
    draw_paths(console, answers)
    console.print(f"[green]✓[/] Cluster stopped in {seconds:.1f} s, with nothing left behind")
    return _verdict(console, labels, answers)


async def _load(
    console: Console, cluster: Cluster, question: Question, options: argparse.Namespace
) -> Answers:
    total = options.rounds * len(question.images)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn()
    loading = asyncio.Event()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(f"{options.clients} clients ask", total=total)

        def answered(count: int) -> None:
            bar.update(task, completed=count)
            if count >= total // 3:
                loading.set()

        asking = ask_all(cluster.address, question, options.rounds, options.clients, answered)
        if options.kill is None:
            return await asking
        answers, victim = await asyncio.gather(asking, _kill_at(loading, cluster, options))
    console.print(f"[yellow]![/] Killed {victim} with SIGKILL in the middle of the load")
    return answers


async def _kill_at(loading: asyncio.Event, cluster: Cluster, options: argparse.Namespace) -> str:
    await loading.wait()
    return await kill(cluster.address, options.kill, options.version)


def _verdict(console: Console, labels: Labels, answers: Answers) -> int:
    share = answers.accuracy(labels)
    if answers.failures:
        code, count = answers.failures.most_common(1)[0]
        console.print(f"[red]✗[/] {answers.failed} requests failed; {count} of them: {code}")
        return 1
    if share < ENOUGH:
        console.print(f"[red]✗[/] Accuracy {share:.1%} is below {ENOUGH:.0%}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
