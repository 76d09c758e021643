"""Log-probs that the server is checked against: the adapter as it lies on disk, on the base that will serve it.

`python -m harness.train.reference JOB.json` does it for an adapter trained elsewhere. JOB.json:
{"base": BaseRef, "adapter_dir": folder, "probes_from": [DataRef, …], "out": file}
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import ValidationError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from harness.core.errors import InputError, RatchetError
from harness.core.paths import read_json, write_atomic
from harness.core.process import die_with_parent
from harness.core.records import BaseRef, DataRef
from harness.data import load_rows
from harness.train.encode import encode, for_base
from harness.train.model import use_all_cores
from harness.train.output import adapter_sha256, missing_file

PROBES = 8
PROBE_TOKENS = 128  # enough to tell adapters apart, short enough to cost nothing
DIGITS = 6  # nats; parity is judged at 1e-3


def probe_ids(tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]]) -> list[list[int]]:
    """Token ids of the first PROBES different rows, prompt and (chosen) completion, PROBE_TOKENS at most."""
    encoded = (encode(tokenizer, row["prompt"], row.get("completion") or row["chosen"])[0] for row in rows)
    distinct: dict[tuple[int, ...], None] = {}
    for ids in encoded:
        distinct.setdefault(tuple(ids[:PROBE_TOKENS]))
        if len(distinct) == PROBES:
            break
    return [list(ids) for ids in distinct if len(ids) > 1]


def reference(base: BaseRef, adapter_dir: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What reference.json holds: `adapter_sha256`, `serving_dtype` and, per probe, `token_ids` and the log-probs (nats)
    `adapter_fp32`, `base_fp32` and `adapter_serving`, one value per token, None for the first.

    Loads the unquantised base in fp32 once; the serving dtype is that of the base's config.
    """
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    probes = probe_ids(tokenizer, for_base(rows, base.has_chat_template))
    serving: torch.dtype = AutoConfig.from_pretrained(base.path).dtype or torch.float32
    bare = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32, use_safetensors=True)
    model = PeftModel.from_pretrained(bare.to(_device(bare)), str(adapter_dir)).eval()
    torch.set_float32_matmul_precision("highest")
    columns = {"adapter_fp32": [_log_probs(model, ids) for ids in probes]}
    with model.disable_adapter():
        columns["base_fp32"] = [_log_probs(model, ids) for ids in probes]
    if serving != torch.float32:
        for parameter in model.parameters():  # not the buffers: rotary frequencies stay in fp32 on servers too
            parameter.data = parameter.data.to(serving)
        columns["adapter_serving"] = [_log_probs(model, ids) for ids in probes]
    else:
        columns["adapter_serving"] = columns["adapter_fp32"]
    return {
        "adapter_sha256": adapter_sha256(adapter_dir),
        "base_sha256": base.sha256,
        "serving_dtype": str(serving).removeprefix("torch."),
        "probes": [
            {"token_ids": ids, **{name: column[number] for name, column in columns.items()}}
            for number, ids in enumerate(probes)
        ],
    }


def write_reference(path: Path, value: dict[str, Any]) -> None:
    """reference.json, one line per probe rather than one per number."""
    probes = ",\n".join(json.dumps(probe) for probe in value["probes"])
    head = json.dumps({name: item for name, item in value.items() if name != "probes"})
    write_atomic(path, f'{head[:-1]}, "probes": [\n{probes}\n]}}\n'.encode())


def _device(model: PreTrainedModel) -> torch.device:
    """CUDA if the fp32 base fits beside what is there, else the CPU: it is only a few hundred tokens."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        if free > 1.3 * model.get_memory_footprint():
            return torch.device("cuda")
    return torch.device("cpu")


def _log_probs(model: PeftModel, ids: list[int]) -> list[float | None]:
    """Log-prob of each token given those before it; softmax in fp32 as servers do."""
    tokens = torch.tensor([ids], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1].float()
    picked = torch.log_softmax(logits, dim=-1).gather(1, tokens[0, 1:, None])[:, 0]
    return [None, *(round(value, DIGITS) for value in picked.tolist())]


def main(argv: list[str]) -> int:
    """Write one reference.json; returns the exit code."""
    die_with_parent()
    try:
        job = read_json(Path(argv[1]))
        base = BaseRef.model_validate(job["base"])
        refs = [DataRef.model_validate(ref) for ref in job["probes_from"]]
        adapter_dir = Path(job["adapter_dir"])
        missing = missing_file(adapter_dir)
        if missing:
            raise InputError(f"{adapter_dir} has no {missing}", "give a PEFT adapter with safetensors weights")
        use_all_cores()
        rows = list(itertools.chain.from_iterable(load_rows(ref) for ref in refs))
        write_reference(Path(job["out"]), reference(base, adapter_dir, rows))
    except (IndexError, FileNotFoundError, KeyError, ValidationError) as error:
        print(f"no usable job file: {error}; usage: python -m harness.train.reference JOB.json", file=sys.stderr)
        return 1
    except RatchetError as error:
        print(error.one_line(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
