-- What retention knows beside the clock, so that a wrong one drops nothing.
CREATE TABLE retention_state (
    -- The latest time that was believed; 0: none yet. A clock that is days ahead of it is not.
    trusted_at_ms   INTEGER NOT NULL,
    -- For how long instances have run on this database, by their monotonic clocks.
    running_ms      INTEGER NOT NULL,
    -- When that was last counted, by the machine's clock.
    counted_at_ms   INTEGER NOT NULL,
    -- The running time at which the clock was first far behind the time that was believed.
    behind_since_ms INTEGER,
    only_row        INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_row = 1)
) STRICT;

INSERT INTO retention_state (trusted_at_ms, running_ms, counted_at_ms)
SELECT coalesce((SELECT CAST(strftime('%s', started_at) AS INTEGER) * 1000 FROM analytics_sessions ORDER BY id DESC LIMIT 1), 0), 0, 0;

-- When rows whose ids carry a day were last stored. Written once an hour and day, not with every batch.
CREATE TABLE stored_days (
    day          INTEGER NOT NULL PRIMARY KEY,
    stored_at_ms INTEGER NOT NULL,
    running_ms   INTEGER NOT NULL
) STRICT;
