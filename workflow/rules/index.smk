# The plan: every prompt on every session. The number of jobs is known only after it.
checkpoint index:
    input:
        # a folder is newer when a participant is added; for a new session or a replaced scan: snakemake -R index
        [
            dataset.path / "sourcedata" / "demo_truth.tsv" if dataset.is_demo else dataset.path
            for dataset in CONFIG.datasets
        ],
    output:
        plan=OUTPUT / "plan.parquet",
        shards=OUTPUT / "plan.shards.json",
    log:
        OUTPUT / "logs" / "index.log",
    conda:
        "../envs/vp.yaml"
    resources:
        attempt=lambda wildcards, attempt: attempt,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        config=CONFIG_FILE,
        asked=[repr(CONFIG.datasets), repr(CONFIG.prompts), CONFIG.subjects_per_job, CONFIG.streams, __version__],
        output=OUTPUT,
    shell:
        "vp --attempt {resources.attempt:q} --outcome {log:q}.failure "
        "index --config {params.config:q} --output {params.output:q} > {log:q} 2>&1"
