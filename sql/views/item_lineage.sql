-- Items of all datasets with their persona, its document and the call that wrote them
-- batch: Batch of the line
-- dataset: Dataset of the item
-- item_id: The item, in dataset_items
-- sample: Number of the answer for this persona or item, from 0
-- text: The item as one readable text
-- source_id: Item of another dataset that it was made from, null without one
-- persona_id: Persona that the item was written for
-- persona: Text of that persona; null if it was removed from its batch since
-- origin: Origin of the persona: text, relation or imported
-- relation: Relation of the persona to its parent or document
-- hop: Relations followed from the root to the persona
-- root_id: First persona of its line
-- document_id: Document at the root of the line, null for imported lines
-- url: Address of that document, if known
-- source: Origin of the document according to the source file
-- generation_id: Call that wrote the item, in generations
-- prompt: Name of the prompt file of that call
-- prompt_fingerprint: Hash of the prompt with its parameters and sampling
-- model: Model that answered
SELECT
    i.batch,
    i.dataset,
    i.item_id,
    i.sample,
    i.text,
    i.source_id,
    i.persona_id,
    c.persona,
    c.origin,
    c.relation,
    c.hop,
    c.root_id,
    c.document_id,
    d.url,
    d.source,
    i.generation_id,
    g.prompt,
    g.prompt_fingerprint,
    g.model
FROM dataset_items AS i
LEFT JOIN candidate_personas AS c ON c.persona_id = i.persona_id
LEFT JOIN documents AS d ON d.batch = c.batch AND d.document_id = c.document_id
LEFT JOIN ids AS g ON g.id = i.generation_id AND g.kind = 'generation'
