# All prompts on the participants of one shard: one job, one model load.
rule analyse:
    input:
        plan=OUTPUT / "plan.parquet",
    output:
        # the receipt, not the images; kept on a rerun, as only what changed is computed again
        update(OUTPUT / "records" / "{dataset}" / "{shard}.json"),
    log:
        OUTPUT / "logs" / "analyse" / "{dataset}_{shard}.log",
    conda:
        "../envs/vp.yaml"
    threads: 2
    resources:
        attempt=lambda wildcards, attempt: attempt,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        config=CONFIG_FILE,
        # what changes results, so that jobs run again; weights may change in place
        asked=[
            *(f"{prompt.id}: {prompt.text}" for prompt in CONFIG.prompts),
            CONFIG.streams,
            CONFIG.model,
            model_id(model_folder(CONFIG.model)),
            *planner_stamp(CONFIG.planner),
            __version__,
            CONFIG.deadline_s,  # those who were ended get the new time; nobody else is done again
        ],
        output=OUTPUT,
    shell:
        "vp --attempt {resources.attempt:q} --outcome {log:q}.failure "
        "analyse --config {params.config:q} --output {params.output:q} "
        "--dataset {wildcards.dataset:q} --shard {wildcards.shard:q} > {log:q} 2>&1"
