-- A dialogue has two messages for each turn, and the call of each
SELECT batch, item_id, turns, len(messages) AS messages, len(calls) AS calls
FROM dialogues
WHERE len(dialogues.messages) <> 2 * turns OR len(dialogues.calls) <> 2 * turns
