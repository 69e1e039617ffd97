-- Every version of a prompt that was ever used, one row per fingerprint; joins with generations by prompt_fingerprint
-- prompt_fingerprint: Hash of the prompt with its parameters and sampling, as in generations
-- name: Name of the prompt file; of prompts with the same text, the last used
-- description: Description in the front matter
-- template: Instructions and the row's own text, as in the prompt file
-- instructions: Template of the instructions that all rows share
-- message: Template of the row's own text
-- parameters: Values of the parameters, with those of hub.toml, as JSON
-- sampling: Temperature, top_p, max_tokens and further options, as JSON
-- schema: JSON schema of the answer, the last used; prompt_uses has all
-- schema_fingerprint: Hash of that schema, as in generations
-- model: Model that was asked last
-- models: All models that were asked
-- batches: Number of batches with rows or requests of it
-- first_used: First use, UTC
-- last_used: Last use, UTC
-- rows_written: Rows that were written with it, as each batch was last published with it
SELECT
    prompt_fingerprint,
    arg_max(name, last_used) AS name,
    arg_max(description, last_used) AS description,
    arg_max(instructions || chr(10) || '---' || chr(10) || message, last_used) AS template,
    arg_max(instructions, last_used) AS instructions,
    arg_max(message, last_used) AS message,
    arg_max(parameters, last_used) AS parameters,
    arg_max(sampling, last_used) AS sampling,
    arg_max("schema", last_used) AS "schema",
    arg_max(schema_fingerprint, last_used) AS schema_fingerprint,
    arg_max(model, last_used) AS model,
    list_sort(list(DISTINCT model)) AS models,
    count(DISTINCT batch) AS batches,
    min(first_used) AS first_used,
    max(last_used) AS last_used,
    sum(rows_written)::BIGINT AS rows_written
FROM prompt_uses
GROUP BY prompt_fingerprint
