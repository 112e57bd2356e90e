# From BIDS to tables: demo → index → analyse (one job per shard of participants) → collect → statistics → report.
# WHAT is analysed stands in config.yaml (or --configfile FILE), WHERE it runs in profiles/.
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from vp_engine import __version__
from vp_engine.cohort.config import load_config
from vp_engine.cohort.weights import model_folder, model_id, planner_stamp
from vp_engine.errors import ConfigError

min_version("9.19")


# One file says it all: two of them merged would analyse the datasets of both.
if not workflow.configfiles:

    configfile: "config.yaml"


if len(workflow.configfiles) > 1 or set(workflow.config_settings.config) - {"output"}:
    raise WorkflowError("expected one --configfile and no --config but output=FOLDER; edit the file instead")
CONFIG_FILE = os.path.relpath(workflow.configfiles[0])
try:
    CONFIG = load_config(Path(CONFIG_FILE))
except ConfigError as error:
    raise WorkflowError(error.message) from None
OUTPUT = Path(str(workflow.config_settings.config.get("output", CONFIG.output)))

if not workflow.deployment_settings.deployment_method:  # `vp` is the one beside this Python, on every node of a cluster
    shell.prefix(f"set -euo pipefail; export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; ")


wildcard_constraints:
    dataset=r"[A-Za-z][0-9A-Za-z_-]*",
    shard=r"shard-[0-9]+",


rule all:
    default_target: True
    input:
        OUTPUT / "report.html",


include: "workflow/rules/demo.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/report.smk"


onsuccess:
    from vp_engine.cohort.status import read_not_fitted  # with it comes pyarrow, which every job would wait for

    print(f"\nTables: {OUTPUT / 'tables'}\nReport: {OUTPUT / 'report.html'}", *read_not_fitted(OUTPUT), sep="\n")
