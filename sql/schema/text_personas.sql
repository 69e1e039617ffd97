-- template: persona
COMMENT ON TABLE text_personas IS 'Candidates inferred from documents, or imported as they are';
