# Tables → models of the configured statistics.
rule statistics:
    input:
        OUTPUT / "records" / "collected",
    output:
        touch(OUTPUT / "records" / "statistics"),
    log:
        OUTPUT / "logs" / "statistics.log",
    conda:
        "../envs/vp.yaml"
    resources:
        attempt=lambda wildcards, attempt: attempt,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        config=CONFIG_FILE,
        asked=repr(CONFIG.statistics),
        output=OUTPUT,
    shell:
        "vp --attempt {resources.attempt:q} --outcome {log:q}.failure "
        "stats --config {params.config:q} --output {params.output:q} > {log:q} 2>&1"
