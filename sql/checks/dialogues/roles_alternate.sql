-- The user begins, and user and assistant alternate
SELECT batch, item_id, [m.role FOR m IN messages] AS roles
FROM dialogues
WHERE roles <> [if(place % 2 = 0, 'user', 'assistant') FOR place IN range(len(messages))]
