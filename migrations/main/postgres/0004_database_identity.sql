-- Which database this is. A backup, a restored copy and a standby have the same id; another database that a URL names by
-- mistake has another one. An instance remembers the ids of its databases beside its journals.
CREATE TABLE database_identity (
    id         text PRIMARY KEY,
    -- Whether journals had been applied here before there was an id.
    was_in_use boolean NOT NULL,
    only_row   boolean NOT NULL DEFAULT true UNIQUE CHECK (only_row)
);

INSERT INTO database_identity (id, was_in_use)
SELECT gen_random_uuid()::text, EXISTS (SELECT 1 FROM journal_positions);
