-- Which database this is. A backup, a restored copy and a standby have the same id; another database that a URL names by
-- mistake has another one. An instance remembers the ids of its databases beside its journals.
CREATE TABLE database_identity (
    id         TEXT NOT NULL PRIMARY KEY,
    -- Whether journals had been applied here before there was an id.
    was_in_use INTEGER NOT NULL,
    only_row   INTEGER NOT NULL DEFAULT 1 UNIQUE CHECK (only_row = 1)
) STRICT;

INSERT INTO database_identity (id, was_in_use)
SELECT lower(hex(randomblob(16))), EXISTS (SELECT 1 FROM journal_positions);
