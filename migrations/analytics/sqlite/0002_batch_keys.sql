-- Under which key a batch's item was stored, and what it was answered with: sent again within a day, it gets that answer.
CREATE TABLE batch_keys (
    key BLOB NOT NULL PRIMARY KEY,
    answer_id TEXT,
    answer_created_at TEXT,
    stored_at TEXT NOT NULL
) WITHOUT ROWID, STRICT;

CREATE INDEX batch_keys_stored_at ON batch_keys (stored_at);
