-- template: persona
COMMENT ON TABLE related_personas IS 'Candidates that are related to another candidate, by hop';
COMMENT ON COLUMN related_personas.attributes IS 'Always null: attributes of a source file are stored with the imported personas';
