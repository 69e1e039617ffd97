-- template: persona
COMMENT ON TABLE personas IS 'The hub: candidates that both dedup stages kept';
