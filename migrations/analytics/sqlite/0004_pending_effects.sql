-- What happened to a session or a view that is not here yet: it is in the journal of another instance, or among the dead
-- letters. It is applied in the transaction that brings what it waits for, and is deleted a day after it came.
CREATE TABLE pending_effects (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The session, or of a leave the view.
    awaited      TEXT NOT NULL,
    -- view, leave, heartbeat or identify.
    kind         TEXT NOT NULL,
    -- Of a view, whose row is stored already: its id.
    view_id      TEXT,
    -- When a view was opened, or a heartbeat came.
    at           TEXT,
    duration     REAL,
    scroll_depth REAL,
    user_id      TEXT,
    kept_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX pending_effects_awaited ON pending_effects (awaited);
CREATE INDEX pending_effects_kept_at ON pending_effects (kept_at);
