# Tables → figures and report.html.
rule report:
    input:
        OUTPUT / "records" / "statistics",
    output:
        OUTPUT / "report.html",
    log:
        OUTPUT / "logs" / "report.log",
    conda:
        "../envs/vp.yaml"
    resources:
        attempt=lambda wildcards, attempt: attempt,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        config=CONFIG_FILE,
        output=OUTPUT,
    shell:
        "vp --attempt {resources.attempt:q} --outcome {log:q}.failure "
        "report --config {params.config:q} --output {params.output:q} > {log:q} 2>&1"
