"""A whole subject: images and prompts in, derivatives and a record out; and the cohort around it."""
