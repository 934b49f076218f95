"""How much faster are shards of small models trained in lanes than one by one, and does one place keep its bits?

Method: an MLP and a small CNN are trained on shards of noise, by one process on one device, in lanes of each width. Each is
measured in a process of its own, with its peak memory, beside width 1, and beside several processes that share the device
and train shards one by one. In each, one shard is then trained alone at its place of the lane, and all of its bits are
compared. The default is the CPU. `--device cuda` needs a GPU, takes `--minutes` at most, prints the result as JSON and ends.

Conclusion: on one core a lane of small MLPs is quicker than its shards one by one, since one step of Python moves all of its
places. Convolutions gain nothing there. A shard alone has the bits that it has in a full lane. No GPU was measured yet.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from experiments.harness import Experiment, document_parser, write_document
from raymu.config import Config
from raymu.data.tables import SampleTable
from raymu.training.batches import ShardSamples
from raymu.training.checkpoint_format import tensor_bytes
from raymu.training.determinism import deterministic
from raymu.training.lane import train_lane_stage
from raymu.training.lane_checks import require_lane
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer

MODELS: Mapping[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mlp": ((16,), {"name": "mlp", "hidden": [128]}),
    "cnn": ((1, 28, 28), {"name": "cnn", "channels": [8, 16], "hidden": 64}),
}
"""Name -> shape of a sample, and settings of the model."""
CLASSES, SAMPLES, BATCH, EPOCHS = 26, 256, 64, 2
WIDTHS: Mapping[str, Mapping[str, Sequence[int]]] = {
    "cpu": {"mlp": (1, 8, 32, 128), "cnn": (1, 8)},
    "cuda": {"mlp": (1, 8, 32, 128, 512), "cnn": (1, 8, 32, 128, 512)},
}
PROCESSES = {"cpu": (2,), "cuda": (4, 8, 16)}
"""Processes that share the device, each with shards of its own."""
_LEFT_S = 20.0
"""Seconds that are kept for the end."""


def spec_of_lane(model: str, width: int) -> TrainingSpec:
    """Return the settings of a training in lanes of a width."""
    shape, settings = MODELS[model]
    tree = {
        "data": {"train": "noise.parquet"},
        "model": settings,
        "training": {"batch_size": BATCH, "momentum": 0.9, "learning_rate": 0.05},
        "partition": {"shards": max(2, width), "slices": 1},
        "cluster": {"shards_per_lane": width},
    }
    return replace(TrainingSpec.of(Config.parse(tree), input_shape=shape, classes=CLASSES), epochs=(EPOCHS,))


def noise_shard(model: str, shard: int, samples: int) -> ShardSamples:
    """Return samples of noise."""
    random, shape = np.random.default_rng(shard), MODELS[model][0]
    table = SampleTable(
        ids=np.arange(samples),
        features=random.normal(size=(samples, *shape)).astype(np.float32),
        labels=random.integers(0, CLASSES, samples),
    )
    hashes = random.permutation(samples).astype(np.uint64)
    return ShardSamples.ordered(table, hashes=hashes, slices=np.zeros(samples, dtype=np.int64))


def measure_width(
    model: str, width: int, *, device_name: str, seconds: float, samples: int, start_at: float
) -> dict[str, Any]:
    """Train shards in a lane for some seconds, in this process. Width 1 trains one shard after the other.

    Returns:
        Samples per second, whether a shard alone has the same bits, and peak memory in bytes.
    """
    spec, device = spec_of_lane(model, width), torch.device(device_name)
    with deterministic(device, 1, lane=width):
        shards = {shard: noise_shard(model, shard, samples - shard % 7) for shard in range(width)}
        base = _peak_bytes(device)
        trainers = [ShardTrainer(spec, shard, device) for shard in shards]
        train = partial(_train, trainers, list(shards.values()))
        train()  # warms up, and the first one is compared
        require_lane(trainers[0])
        first = _state(trainers[-1])
        rates: list[float] = []
        cpu_rates: list[float] = []
        time.sleep(max(0.0, start_at - time.time()))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or not rates:
            started, cpu_started = time.perf_counter(), time.process_time()
            passes = train()
            if device.type == "cuda":
                torch.cuda.synchronize()
            rates.append(passes / (time.perf_counter() - started))
            cpu_rates.append(passes / (time.process_time() - cpu_started))
        peak = _peak_bytes(device) - (base if device.type == "cpu" else 0)
        alone = ShardTrainer(spec, width - 1, device)
        alone.train_stage(shards[width - 1], 0)
        return {
            "samples_per_s": statistics.median(rates),
            "samples_per_cpu_s": statistics.median(cpu_rates),
            "is_bit_for_bit": _state(alone) == first,
            "peak_bytes": peak,
        }


def _train(trainers: Sequence[ShardTrainer], samples: Sequence[ShardSamples]) -> int:
    if len(trainers) == 1:
        return trainers[0].train_stage(samples[0], 0)
    return sum(train_lane_stage(trainers, samples, 0))


def _state(trainer: ShardTrainer) -> dict[str, bytes]:
    return {name: tensor_bytes(tensor.cpu()) for name, tensor in trainer.state().items()}


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _begin(model: str, width: int, options: Mapping[str, Any], *, start_at: float = 0.0) -> "subprocess.Popen[str]":
    """Measure a width in a process of its own."""
    arguments = json.dumps({"model": model, "width": width, **options, "start_at": start_at})
    command = [sys.executable, "-m", "experiments.lanes", "--one", arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _result(process: "subprocess.Popen[str]", timeout_s: float) -> dict[str, Any]:
    """Return what a process measured, or why it did not."""
    try:
        output, errors = process.communicate(timeout=max(1.0, timeout_s))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return {"problem": "no time was left"}
    if process.returncode:
        return {"problem": (errors.strip().splitlines() or ["it ended"])[-1]}
    measured: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measured


def measure(
    device: str, *, widths: Mapping[str, Sequence[int]], seconds: float, samples: int, end: float
) -> dict[str, Any]:
    """Measure all widths and numbers of processes, as far as there is time. end: by `time.perf_counter`"""
    options = {"device_name": device, "seconds": seconds, "samples": samples}

    def left() -> float:
        return end - time.perf_counter() - _LEFT_S

    document: dict[str, Any] = {}
    for model in MODELS:
        lanes = {}
        for width in widths[model]:
            lanes[str(width)] = (
                _result(_begin(model, width, options), left()) if left() > 0 else {"problem": "no time was left"}
            )
            print(f"{model}, lane of {width}: {lanes[str(width)]}", file=sys.stderr)
        processes = {}
        for count in PROCESSES[device]:
            if left() <= 0:
                processes[str(count)] = {"problem": "no time was left"}
                continue
            start_at = time.time() + 8.0 + count
            running = [_begin(model, 1, options, start_at=start_at) for _ in range(count)]
            results = [_result(process, left()) for process in running]
            problems = [result["problem"] for result in results if "problem" in result]
            processes[str(count)] = (
                {"problem": problems[0]}
                if problems
                else {
                    "samples_per_s": sum(result["samples_per_s"] for result in results),
                    "peak_bytes": sum(result["peak_bytes"] for result in results),
                }
            )
            print(f"{model}, {count} processes: {processes[str(count)]}", file=sys.stderr)
        document[model] = {"lanes": lanes, "processes": processes}
    return document


def _summary(result: Any) -> str:
    parts = []
    for model, measured in result["models"].items():
        lanes = {width: lane for width, lane in measured["lanes"].items() if "problem" not in lane}
        single = lanes["1"]["samples_per_cpu_s"]
        gains = ", ".join(
            f"{width}: {lane['samples_per_cpu_s'] / single:.1f}x" for width, lane in lanes.items() if width != "1"
        )
        parts.append(f"{model}, samples per CPU second in a lane of {gains}")
    is_exact = all(
        lane.get("is_bit_for_bit", True)
        for measured in result["models"].values()
        for lane in measured["lanes"].values()
    )
    bits = "the same bits" if is_exact else "OTHER BITS"
    return f"on {result['device']}, against shards one by one: {'; '.join(parts)}; a shard alone has {bits} in all"


EXPERIMENT = Experiment(name="lanes", doc=__doc__, results=("lanes.json",), summary=_summary)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("--device", choices=tuple(WIDTHS), default="cpu", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=9.0, help="when to end at the latest (default: %(default)s)")
    parser.add_argument("--widths", type=int, nargs="+", help="widths of lanes; the default depends on the device")
    parser.add_argument("--one", help="measure this alone, in this process: what the experiment itself calls")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure_width(**_keywords(arguments.one))))
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("this machine lacks a CUDA device; run it on one that has a GPU, or with --device cpu")
        return
    seconds, samples = (0.5, 64) if arguments.smoke else (5.0, SAMPLES)
    widths: Mapping[str, Sequence[int]] = WIDTHS[arguments.device]
    if chosen := arguments.widths or ([1, 3] if arguments.smoke else None):
        widths = dict.fromkeys(MODELS, chosen)
    end = time.perf_counter() + 60.0 * arguments.minutes
    models = measure(arguments.device, widths=widths, seconds=seconds, samples=samples, end=end)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "a CPU, one thread"
    name = "lanes.json" if arguments.device == "cpu" else "lanes-cuda.json"
    write_document(name, {"device": device, "samples_of_a_shard": samples, "models": models}, is_smoke=arguments.smoke)


def _keywords(text: str) -> dict[str, Any]:
    keywords: dict[str, Any] = json.loads(text)
    return keywords


if __name__ == "__main__":
    main()
