-- How often is each version of a prompt refused or its answer rejected, and did an edit change that?
-- A version is a fingerprint: text, parameters and sampling. What an earlier version was answered counts as well.
SELECT
    prompt,
    prompt_fingerprint,
    model,
    count(*) FILTER (status <> 'superseded') > 0 AS in_use,
    count(*) AS requests,
    count(*) FILTER (reason = 'refused') AS refused,
    round(100.0 * count(*) FILTER (reason = 'refused') / count(*), 2) AS percent_refused,
    count(*) FILTER (reason IS NOT NULL) AS without_answer,
    round(100.0 * count(*) FILTER (reason IS NOT NULL) / count(*), 2) AS percent_without_answer
FROM generations
GROUP BY prompt, prompt_fingerprint, model
ORDER BY prompt, in_use DESC, requests DESC, prompt_fingerprint, model;
