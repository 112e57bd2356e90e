"""No step opens a connection: attempts are noted and fail, in Python and below it; without a network all works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.security.tiny_model import make_model
from tests.unit.cohort_fakes import write_dataset
from vp_engine.cohort.weights import LOCK, model_folder, verify_weights

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(1200)

# Names are resolved and connections made only by these; sockets within the machine stay open.
GUARD = """\
import os, socket, sys

def refuse(event, arguments):
    asked = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        asked = arguments[0].family != socket.AF_UNIX
    if asked or event in ("urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect"):
        with open(os.environ["VP_TEST_ATTEMPTS"], "a") as log:
            log.write(f"python {event} {arguments[1:]!r}\\n")
        raise OSError(f"no network in this test: {event}")

sys.addaudithook(refuse)
"""
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *what) {
    const char *path = getenv("VP_TEST_ATTEMPTS");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
    if (file < 0) return;
    if (write(file, what, strlen(what)) < 0) _exit(99);
    close(file);
}
int connect(int fd, const struct sockaddr *to, socklen_t size) {
    if (to && to->sa_family != AF_UNIX) { note("native connect\n"); errno = ENETUNREACH; return -1; }
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    return real(fd, to, size);
}
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    (void)service; (void)hints; (void)found;
    note("native getaddrinfo "); note(node ? node : ""); note("\n");
    return EAI_FAIL;
}
"""
PROMPT = "Measure the volume of the left and right hippocampus."
CONFIG = {
    "datasets": {"tiny": {"path": "data", "participants": ["03"]}},
    "output": "out",
    "prompts": [
        {"id": "hipp", "text": PROMPT},
        {"id": "liver", "text": "Segment the liver."},
    ],
    "statistics": [{"id": "s", "rows": {"prompt": "hipp", "measure": "volume"}, "model": "value ~ age"}],
}
STEPS = (
    ("index",),
    ("analyse", "--dataset", "tiny", "--shard", "shard-00000"),
    ("collect",),
    ("stats",),
    ("report",),
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Guarded, with nothing that says offline and with no cache to fall back on."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD)
    quiet = {k: v for k, v in os.environ.items() if "OFFLINE" not in k and "PROXY" not in k.upper()}
    made = quiet | {
        "PYTHONPATH": os.pathsep.join([str(guard), str(ROOT)]),
        "VP_TEST_ATTEMPTS": str(tmp_path / "attempts.log"),
        "HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "home" / "hf"),
        "OMP_NUM_THREADS": "1",
    }
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler:
        (tmp_path / "shim.c").write_text(SHIM)
        command = [compiler, "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c", "-ldl"]
        subprocess.run(command, check=True)
        made["LD_PRELOAD"] = str(tmp_path / "shim.so")
    return made


SEVERAL = """
import json, sys
from vp_engine.cli.app import app
for command in json.loads(sys.argv[1]):
    app(command, standalone_mode=False)
"""


def vp(folder: Path, environment: dict[str, str], *commands: tuple[str, ...], before: tuple[str, ...] = ()) -> str:
    """Commands of `vp`, one after another in one process."""
    done = subprocess.run(
        [*before, sys.executable, "-c", SEVERAL, json.dumps(commands)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def attempts(environment: dict[str, str]) -> str:
    log = Path(environment["VP_TEST_ATTEMPTS"])
    return log.read_text() if log.exists() else ""


def study(folder: Path, model: str) -> None:
    write_dataset(folder / "data")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"model": model}))


def need_weights() -> None:
    if not (model_folder("default") / LOCK).is_file():
        pytest.skip("no default weights in this checkout")


def test_no_step_of_the_workflow_tries_to_reach_anything(tmp_path: Path, environment: dict[str, str]) -> None:
    study(tmp_path, str(make_model(tmp_path / "model", 1)))
    vp(tmp_path, environment, *STEPS)
    assert attempts(environment) == ""
    runs = pq.read_table(tmp_path / "out" / "tables" / "runs").to_pylist()
    assert {row["prompt_id"] for row in runs} == {"hipp", "liver"}
    # whose weights made a row stands in the row
    assert {row["model_id"] for row in runs} == {verify_weights(tmp_path / "model")}


@pytest.mark.stress
def test_nor_with_the_weights_that_come_with_it(tmp_path: Path, environment: dict[str, str]) -> None:
    need_weights()
    study(tmp_path, "default")
    vp(tmp_path, environment, *STEPS, ("segment", "data/sub-03/ses-01/anat/sub-03_ses-01_T1w.nii.gz", "brainstem"))
    assert attempts(environment) == ""
    verified = verify_weights(model_folder("default"))
    runs = pq.read_table(tmp_path / "out" / "tables" / "runs").to_pylist()
    assert {row["prompt_id"]: row["status"] for row in runs} == {"hipp": "ok", "liver": "refused"}
    measurements = pq.read_table(tmp_path / "out" / "tables" / "measurements").to_pylist()
    assert [row["model_id"] for row in [*runs, *measurements]] == [verified] * 4


def test_a_model_of_transformers_is_read_from_its_folder_alone(tmp_path: Path, environment: dict[str, str]) -> None:
    need_weights()
    bytes_ = Tokenizer(models.BPE())
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>", "<s>", "</s>"]
    bytes_.train_from_iterator(
        [], trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_, unk_token="<unk>", bos_token="<s>", eos_token="</s>")  # noqa: S106
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=65536, **sizes))
    model.save_pretrained(tmp_path / "planner")
    tokenizer.save_pretrained(tmp_path / "planner")
    config = json.loads((tmp_path / "planner" / "config.json").read_text())
    # a name that could be looked up
    config["_name_or_path"] = "mistralai/Mistral-7B-v0.1"
    (tmp_path / "planner" / "config.json").write_text(json.dumps(config))
    planned = json.loads(vp(tmp_path, environment, ("plan", PROMPT, "--json", "--planner", "planner")))
    assert planned["status"] in ("ok", "refused")
    assert attempts(environment) == ""


@pytest.mark.stress
def test_without_any_network_everything_works(tmp_path: Path, environment: dict[str, str]) -> None:
    need_weights()
    alone = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let a process give up the network (unshare --net)")
    environment = {key: value for key, value in environment.items() if key != "LD_PRELOAD"}
    planned = vp(tmp_path, environment, ("plan", PROMPT, "--json"), before=alone)
    assert json.loads(planned)["status"] == "ok"


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import urllib.request; urllib.request.urlopen('http://example.invalid/')",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "from huggingface_hub import model_info; model_info('bert-base-uncased')",
    ],
)
def test_the_guard_notes_and_stops_an_attempt(tmp_path: Path, environment: dict[str, str], attempt: str) -> None:
    done = subprocess.run([sys.executable, "-c", attempt], env=environment, check=False, capture_output=True)
    assert done.returncode != 0
    assert "python " in attempts(environment)


def test_the_guard_notes_what_is_below_python(tmp_path: Path, environment: dict[str, str]) -> None:
    if "LD_PRELOAD" not in environment:
        pytest.skip("no C compiler on this machine")
    code = (
        "import ctypes, struct; libc = ctypes.CDLL(None); fd = libc.socket(2, 1, 0);"
        "address = struct.pack('<H', 2) + struct.pack('>H', 80) + bytes([192, 0, 2, 1]) + bytes(8);"
        "assert libc.connect(fd, address, 16) == -1"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert attempts(environment) == "native connect\n"
