# Tables → figures and report.html, which `snakemake --report FILE` lists.
rule report:
    input:
        OUTPUT / "records" / "statistics",
    output:
        report(OUTPUT / "report.html", category="Report", caption="../report/report.rst"),
        # `update`: pictures of scans that have not changed are kept
        report(
            update(directory(OUTPUT / "figures")),
            patterns=[
                *(f"{{name}}_{kind}.svg" for kind in ("values", "effects", "trajectories", "centiles")),
                "{name}_terms.tsv",
            ],
            category="Figures and tables",
            labels={"statistic": "{name}"},
            caption="../report/figures.rst",
        ),
    log:
        OUTPUT / "logs" / "report.log",
    conda:
        "../envs/vp.yaml"
    threads: 2
    resources:
        attempt=lambda wildcards, attempt: attempt,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        # a picture of each scan, one or two a second and core; a retry goes on where the time ran out
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        config=CONFIG_FILE,
        output=OUTPUT,
    shell:
        "vp --attempt {resources.attempt:q} --outcome {log:q}.failure "
        "report --config {params.config:q} --output {params.output:q} > {log:q} 2>&1"
