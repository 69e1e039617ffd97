-- template: persona
COMMENT ON TABLE personas IS 'The hub: candidates that survived both dedup stages';
