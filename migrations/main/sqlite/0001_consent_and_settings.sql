CREATE TABLE consent_records (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT,
    document_type TEXT NOT NULL,
    document_version TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    preferences TEXT NOT NULL,
    ip_address TEXT,
    user_agent TEXT,
    created_at TEXT NOT NULL
) STRICT;

-- A user's newest records first; anonymous ones are found by nobody.
CREATE INDEX consent_records_user_id ON consent_records (user_id, id DESC) WHERE user_id IS NOT NULL;

CREATE TABLE settings (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

-- How far each journal is applied. `writer` is the process that moved the position last: it tells a commit of our own
-- whose answer was lost from one of somebody else.
CREATE TABLE journal_positions (
    journal_id TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,
    writer TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
