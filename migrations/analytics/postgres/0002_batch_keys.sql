-- Under which key a batch's item was stored, and what it was answered with: sent again within a day, it gets that answer.
CREATE TABLE batch_keys (
    key bytea PRIMARY KEY,
    answer_id uuid,
    answer_created_at timestamptz,
    stored_at timestamptz NOT NULL
);

CREATE INDEX batch_keys_stored_at ON batch_keys (stored_at);
