-- template: persona
COMMENT ON TABLE text_personas IS 'Candidates that were inferred from documents or imported';
