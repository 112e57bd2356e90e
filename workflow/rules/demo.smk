# The demo cohort, when the configuration asks for `demo: {path: demo}` and that folder is not a dataset of the user's.
for demo in [dataset for dataset in CONFIG.datasets if dataset.is_demo]:

    rule demo:
        output:
            # not deleted before a rerun: by this file a complete demo cohort is recognised
            update(demo.path / "sourcedata" / "demo_truth.tsv"),
        log:
            OUTPUT / "logs" / "demo.log",
        conda:
            "../envs/vp.yaml"
        resources:
            attempt=lambda wildcards, attempt: attempt,
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=lambda wildcards, attempt: 10 * attempt,
        params:
            folder=demo.path,
        shell:
            "vp --attempt {resources.attempt:q} --outcome {log:q}.failure "
            "demo --out {params.folder:q} > {log:q} 2>&1"
