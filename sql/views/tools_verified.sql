-- Tools with code that passed its tests, two or more: interface, code and tests
-- batch: Batch of the tool
-- item_id: The tool, in tools
-- persona_id: Persona that the tool was written for
-- interface: The tool as one readable text
-- function_name: Name of the function
-- code: A Python module that defines the function
-- tests: Calls with the values that they returned, as JSON
-- implementation_id: The code, in tool_implementations
-- text: The interface with the code, as one readable text
-- generation_id: Call that wrote the code, in generations
-- items of: tools
-- texts of: tools by item_id
-- user says: Write this function in Python.\n\n{interface}
-- assistant answers: {code}
SELECT
    t.batch,
    t.item_id,
    t.persona_id,
    t.text AS interface,
    i.function_name,
    i.code,
    i.tests,
    i.item_id AS implementation_id,
    t.text || chr(10) || chr(10) || i.code AS text,
    i.generation_id
FROM tools AS t
JOIN tool_implementations AS i ON i.batch = t.batch AND i.source_id = t.item_id
WHERE
    i.status = 'passed'
    AND i.passed_tests >= 2
    AND i.source_hash = left(sha256(t.text), 16)
    -- A tool that the view excluded_items has is not used either, nor code with a passage of a test set.
    AND NOT EXISTS (
        FROM excluded_items AS x
        WHERE x.batch = t.batch
            AND (x.item_id = t.item_id OR (x.item_id = i.item_id AND x.reason = 'contaminated'))
    )
-- The first answer that passed, where there are several samples.
QUALIFY row_number() OVER (PARTITION BY t.batch, t.item_id ORDER BY i.sample) = 1
