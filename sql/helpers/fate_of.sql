-- State of a candidate: kept, lexical duplicate, semantic duplicate, undecided, or gone
CREATE MACRO fate_of(is_kept, stage_dropped, is_candidate) AS
CASE
    WHEN is_kept THEN 'kept'
    WHEN stage_dropped IS NOT NULL THEN stage_dropped || ' duplicate'
    WHEN is_candidate THEN 'undecided'
    ELSE 'gone'
END;
