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
    response VARCHAR
);
COMMENT ON TABLE generations IS 'Calls to the language model, one row per request, including its retries';
COMMENT ON COLUMN generations.batch IS 'Batch that the answer is used in';
COMMENT ON COLUMN generations.generation_id IS 'Id of this row: hash of batch, asset, input and request';
COMMENT ON COLUMN generations.asset IS 'Asset that sent the request';
COMMENT ON COLUMN generations.input_id IS 'Document or persona the call was for';
COMMENT ON COLUMN generations.sample IS 'Number of the answer for this input, from 0';
COMMENT ON COLUMN generations.request_key IS 'Identity of the request: hash of model, messages, sampling, schema and sample';
COMMENT ON COLUMN generations.prompt IS 'Name of the prompt file';
COMMENT ON COLUMN generations.prompt_fingerprint IS 'Hash of the prompt with its parameters and sampling';
COMMENT ON COLUMN generations.schema_fingerprint IS 'Hash of the JSON schema of the answer';
COMMENT ON COLUMN generations.model IS 'Model that answered; standin is the rule-based writer, not a model';
COMMENT ON COLUMN generations.status IS 'accepted, rejected (see quarantine) or superseded (the request has changed since)';
COMMENT ON COLUMN generations.reason IS 'Why it was rejected, null if accepted: docs/reasons.md';
COMMENT ON COLUMN generations.detail IS 'What was wrong with the last answer; of an accepted one, what was cut from the input, else null';
COMMENT ON COLUMN generations.reused IS 'True if the answer was found in another batch or row of the home: nothing was paid for this row';
COMMENT ON COLUMN generations.attempts IS 'Answers received for this request, rejected ones included';
COMMENT ON COLUMN generations.repaired IS 'True if the answer was not clean JSON and was read without asking again';
COMMENT ON COLUMN generations.repair IS 'What was taken off or mended to read the answer, null if it was clean: docs/answers.md';
COMMENT ON COLUMN generations.finish_reason IS 'Why the last answer ended: stop, length, content_filter or fault';
COMMENT ON COLUMN generations.finish_word IS 'The server''s own word for finish_reason';
COMMENT ON COLUMN generations.reasoning IS 'What the model thought before the last answer, cut to 32,000 characters, null if the server gives none';
COMMENT ON COLUMN generations.reasoning_tokens IS 'Completion tokens of the last answer that its reasoning took, null if the server does not say';
COMMENT ON COLUMN generations.prompt_tokens IS 'Prompt tokens of all attempts';
COMMENT ON COLUMN generations.cached_tokens IS 'Prompt tokens that the server took from its prefix cache';
COMMENT ON COLUMN generations.completion_tokens IS 'Completion tokens of all attempts';
COMMENT ON COLUMN generations.answer_tokens IS 'Completion tokens of the last answer alone, also where it was reused';
COMMENT ON COLUMN generations.wasted_tokens IS 'Prompt and completion tokens of the attempts that were rejected';
COMMENT ON COLUMN generations.latency_s IS 'Seconds from the first send to the last answer';
COMMENT ON COLUMN generations.cost IS 'Money paid for this row by the prices in hub.toml at the time, 0 where reused';
COMMENT ON COLUMN generations.queue_s IS 'Seconds of waiting for a free request slot, and between attempts';
COMMENT ON COLUMN generations.flight_s IS 'Seconds on the network, all attempts';
COMMENT ON COLUMN generations.max_tokens IS 'Token limit of the answer; the second attempt with a larger limit had twice as many';
COMMENT ON COLUMN generations.temperature IS 'Sampling temperature of the request, null in rows of older versions';
COMMENT ON COLUMN generations.top_p IS 'Nucleus sampling of the request, null in rows of older versions';
COMMENT ON COLUMN generations.superseded_at IS 'When it was superseded (UTC), null otherwise';
COMMENT ON COLUMN generations.response IS 'The accepted answer as JSON, or the last bad answer, cut to 4,000 characters';
