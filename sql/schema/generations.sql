CREATE TABLE generations (
    batch VARCHAR NOT NULL,
    generation_id VARCHAR NOT NULL,
    asset VARCHAR NOT NULL,
    input_id VARCHAR NOT NULL,
    sample INTEGER NOT NULL,
    request_key VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,
    prompt_fingerprint VARCHAR NOT NULL,
    schema_fingerprint VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    reason VARCHAR,
    detail VARCHAR,
    reused BOOLEAN NOT NULL,
    attempts INTEGER NOT NULL,
    repaired BOOLEAN NOT NULL,
    repair VARCHAR,
    finish_reason VARCHAR,
    finish_word VARCHAR,
    reasoning VARCHAR,
    reasoning_tokens BIGINT,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    answer_tokens BIGINT NOT NULL,
    wasted_tokens BIGINT NOT NULL,
    latency_s DOUBLE NOT NULL,
    cost DOUBLE NOT NULL,
    queue_s DOUBLE NOT NULL,
    flight_s DOUBLE NOT NULL,
    max_tokens INTEGER,
    temperature DOUBLE,
    top_p DOUBLE,
    superseded_at TIMESTAMP,
    response VARCHAR,
    role VARCHAR
);
COMMENT ON TABLE generations IS 'Calls to the language model, one row per request, including its retries';
COMMENT ON COLUMN generations.batch IS 'Batch that uses the answer';
COMMENT ON COLUMN generations.generation_id IS 'Id of this row: hash of batch, asset, input and request';
COMMENT ON COLUMN generations.asset IS 'Asset that sent the request';
COMMENT ON COLUMN generations.input_id IS 'Document, persona or item that the request is about';
COMMENT ON COLUMN generations.sample IS 'Number of the answer for this input, from 0';
COMMENT ON COLUMN generations.request_key IS 'Identity of the request: hash of model, messages, sampling, schema and sample';
COMMENT ON COLUMN generations.prompt IS 'Name of the prompt file';
COMMENT ON COLUMN generations.prompt_fingerprint IS 'Hash of the prompt with its parameters and sampling';
COMMENT ON COLUMN generations.schema_fingerprint IS 'Hash of the JSON schema of the answer';
COMMENT ON COLUMN generations.model IS 'Model that answered; standin is the rule-based writer, not a model';
COMMENT ON COLUMN generations.status IS 'accepted, rejected (see quarantine) or superseded (the request has changed since)';
COMMENT ON COLUMN generations.reason IS 'Why it was rejected, null if accepted: docs/reasons.md';
COMMENT ON COLUMN generations.detail IS 'Fault of the last answer; for an accepted one the part of the input that was cut, else null';
COMMENT ON COLUMN generations.reused IS 'True if the answer is from another batch or row of the home: nothing was paid for this row';
COMMENT ON COLUMN generations.attempts IS 'Answers received for this request, including rejected ones';
COMMENT ON COLUMN generations.repaired IS 'True if the answer was not clean JSON, but was read without a retry';
COMMENT ON COLUMN generations.repair IS 'Repairs that were needed to read the answer, null if it was clean: docs/answers.md';
COMMENT ON COLUMN generations.finish_reason IS 'Why the last answer ended: stop, length, content_filter or fault';
COMMENT ON COLUMN generations.finish_word IS 'Finish reason as the server returned it';
COMMENT ON COLUMN generations.reasoning IS 'Reasoning of the model before the last answer, cut to 32,000 characters, null if the server returns none';
COMMENT ON COLUMN generations.reasoning_tokens IS 'Completion tokens of the reasoning before the last answer, null if the server does not report them';
COMMENT ON COLUMN generations.prompt_tokens IS 'Prompt tokens of all attempts';
COMMENT ON COLUMN generations.cached_tokens IS 'Prompt tokens that the server took from its prefix cache';
COMMENT ON COLUMN generations.completion_tokens IS 'Completion tokens of all attempts';
COMMENT ON COLUMN generations.answer_tokens IS 'Completion tokens of only the last answer, also if it was reused';
COMMENT ON COLUMN generations.wasted_tokens IS 'Prompt and completion tokens of the attempts that were rejected';
COMMENT ON COLUMN generations.latency_s IS 'Seconds from the first send to the last answer';
COMMENT ON COLUMN generations.cost IS 'Cost of this row at the prices in hub.toml at the time of the call; 0 if reused, or if no price was set';
COMMENT ON COLUMN generations.queue_s IS 'Seconds of waiting for a free request slot and between attempts';
COMMENT ON COLUMN generations.flight_s IS 'Seconds on the network, for all attempts';
COMMENT ON COLUMN generations.max_tokens IS 'Token limit of the answer; the second attempt with a larger limit had twice as many';
COMMENT ON COLUMN generations.temperature IS 'Sampling temperature of the request, null in rows of older versions';
COMMENT ON COLUMN generations.top_p IS 'Nucleus sampling of the request, null in rows of older versions';
COMMENT ON COLUMN generations.superseded_at IS 'When it was superseded (UTC), null otherwise';
COMMENT ON COLUMN generations.response IS 'The accepted answer as JSON, or the last bad answer, cut to 4,000 characters';
COMMENT ON COLUMN generations.role IS 'Who was asked: writer, solver, judge, user or assistant; null in rows of older versions';
