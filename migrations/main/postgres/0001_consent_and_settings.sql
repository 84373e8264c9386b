CREATE TABLE consent_records (
    id uuid PRIMARY KEY,
    user_id text,
    document_type text NOT NULL,
    document_version text NOT NULL,
    accepted boolean NOT NULL,
    preferences jsonb NOT NULL,
    ip_address text,
    user_agent text,
    created_at timestamptz NOT NULL
);

-- A user's newest records first; anonymous ones are found by nobody.
CREATE INDEX consent_records_user_id ON consent_records (user_id, id DESC) WHERE user_id IS NOT NULL;

CREATE TABLE settings (
    key text PRIMARY KEY,
    value text NOT NULL,
    updated_at timestamptz NOT NULL
);

-- How far each journal is applied. `writer` is the process that moved the position last: it tells a commit of our own
-- whose answer was lost from one of somebody else.
CREATE TABLE journal_positions (
    journal_id text PRIMARY KEY,
    position bigint NOT NULL,
    writer text NOT NULL,
    updated_at text NOT NULL
);
