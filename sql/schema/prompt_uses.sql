CREATE TABLE prompt_uses (
    batch VARCHAR NOT NULL,
    asset VARCHAR NOT NULL,
    prompt_fingerprint VARCHAR NOT NULL,
    schema_fingerprint VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    instructions VARCHAR NOT NULL,
    message VARCHAR NOT NULL,
    parameters VARCHAR NOT NULL,
    sampling VARCHAR NOT NULL,
    "schema" VARCHAR NOT NULL,
    settings VARCHAR NOT NULL,
    dialect VARCHAR NOT NULL,
    first_used TIMESTAMP NOT NULL,
    last_used TIMESTAMP NOT NULL,
    rows_written BIGINT NOT NULL
);
COMMENT ON TABLE prompt_uses IS 'Every version of a prompt that was used, by batch, asset, schema and model; the view prompts has one row for each version';
COMMENT ON COLUMN prompt_uses.batch IS 'Batch of the requests; recorded-answers for prompts of answers imported from another home';
COMMENT ON COLUMN prompt_uses.asset IS 'Asset that sent the requests';
COMMENT ON COLUMN prompt_uses.prompt_fingerprint IS 'Hash of the prompt with its parameters and sampling, as in generations';
COMMENT ON COLUMN prompt_uses.schema_fingerprint IS 'Hash of the JSON schema of the answer, as in generations';
COMMENT ON COLUMN prompt_uses.model IS 'Model that was asked';
COMMENT ON COLUMN prompt_uses.name IS 'Name of the prompt file';
COMMENT ON COLUMN prompt_uses.description IS 'Description in the front matter';
COMMENT ON COLUMN prompt_uses.instructions IS 'Template of the instructions that all rows share';
COMMENT ON COLUMN prompt_uses.message IS 'Template of the row''s own text';
COMMENT ON COLUMN prompt_uses.parameters IS 'Values of the parameters, with those of hub.toml, as JSON';
COMMENT ON COLUMN prompt_uses.sampling IS 'Temperature, top_p, max_tokens and further options, as JSON';
COMMENT ON COLUMN prompt_uses."schema" IS 'JSON schema of the answer';
COMMENT ON COLUMN prompt_uses.settings IS 'Settings of the task that shape its messages, such as personas per document, as JSON';
COMMENT ON COLUMN prompt_uses.dialect IS 'Settings of [generation] that are part of the identity of a request, as JSON';
COMMENT ON COLUMN prompt_uses.first_used IS 'First request with it, or first rows, in this batch, UTC';
COMMENT ON COLUMN prompt_uses.last_used IS 'Last request with it, or last change of the number of rows, in this batch, UTC';
COMMENT ON COLUMN prompt_uses.rows_written IS 'Rows of the asset''s table when it was last published with it; 0 if it was only tried';
