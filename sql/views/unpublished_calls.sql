-- Paid calls whose answers no table has yet: of a stopped run, or of personahub try; as of the build of the warehouse
-- batch: Batch of the input
-- asset: Asset that sent the requests
-- prompt: Name of the prompt file
-- prompt_fingerprint: Hash of the prompt with its parameters and sampling
-- model: Model that answered
-- status: accepted or rejected
-- requests: Requests with an answer; the next run of the batch publishes them
-- calls: Paid answers, including retries
-- prompt_tokens: Paid prompt tokens
-- cached_tokens: Prompt tokens from the server's prefix cache
-- completion_tokens: Paid completion tokens
-- wasted_tokens: Tokens of answers that were not used
-- cost: Cost at the prices at the time of the call; null if no price was set for any of the calls
-- calls_without_price: Calls that are not in cost, because no price was set
WITH asked AS (
    SELECT batch, asset, prompt_fingerprint, arg_max(model, last_used) AS asked_model FROM prompt_uses GROUP BY ALL
)
SELECT
    j.batch,
    j.asset,
    j.prompt,
    j.prompt_fingerprint,
    coalesce(j.model, a.asked_model, 'unknown') AS model,
    j.status,
    j.requests,
    j.calls,
    j.prompt_tokens,
    j.cached_tokens,
    j.completion_tokens,
    j.wasted_tokens,
    CASE WHEN j.cost = 0 AND j.calls_without_price > 0 THEN NULL ELSE j.cost END AS cost,
    j.calls_without_price
FROM journal_calls AS j
LEFT JOIN asked AS a USING (batch, asset, prompt_fingerprint)
