-- What retention knows beside the clock, so that a wrong one drops nothing.
CREATE TABLE retention_state (
    -- The latest time that was believed; 0: none yet. A clock that is days ahead of it is not.
    trusted_at_ms   bigint NOT NULL,
    -- For how long instances have run on this database, by their monotonic clocks.
    running_ms      bigint NOT NULL,
    -- When that was last counted, by the database's clock, so that several instances do not count the same time.
    counted_at_ms   bigint NOT NULL,
    -- The running time at which the clock was first far behind the time that was believed.
    behind_since_ms bigint,
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);

INSERT INTO retention_state (trusted_at_ms, running_ms, counted_at_ms)
SELECT coalesce((SELECT (extract(epoch FROM started_at) * 1000)::bigint FROM analytics_sessions ORDER BY id DESC LIMIT 1), 0), 0, 0;

-- When rows whose ids carry a day were last stored. Written once an hour and day, not with every batch.
CREATE TABLE stored_days (
    day          bigint PRIMARY KEY,
    stored_at_ms bigint NOT NULL,
    running_ms   bigint NOT NULL
);
