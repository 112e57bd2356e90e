# Records of participants → tables of the cohort.
import json


rule collect:
    input:
        # receipts of all jobs of the plan, sorted
        lambda wildcards: [
            OUTPUT / "records" / dataset / f"{shard}.json"
            for dataset, shards in sorted(json.loads(Path(checkpoints.index.get().output.shards).read_text()).items())
            for shard in shards
        ],
    output:
        touch(OUTPUT / "records" / "collected"),
    log:
        OUTPUT / "logs" / "collect.log",
    conda:
        "../envs/vp.yaml"
    resources:
        attempt=lambda wildcards, attempt: attempt,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        config=CONFIG_FILE,
        output=OUTPUT,
    shell:
        "vp --attempt {resources.attempt:q} --outcome {log:q}.failure "
        "collect --config {params.config:q} --output {params.output:q} > {log:q} 2>&1"
