CREATE TABLE analytics_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    visitor_id TEXT NOT NULL,
    user_id TEXT,
    bio_page_id TEXT,
    creator_id TEXT,
    landing_page TEXT NOT NULL,
    referrer TEXT,
    referrer_domain TEXT NOT NULL,
    utm_source TEXT,
    utm_medium TEXT,
    utm_campaign TEXT,
    utm_term TEXT,
    utm_content TEXT,
    device TEXT,
    browser TEXT,
    os TEXT,
    os_version TEXT,
    screen_width INTEGER,
    screen_height INTEGER,
    connection_type TEXT,
    timezone TEXT,
    language TEXT,
    country TEXT,
    city TEXT,
    region TEXT,
    continent TEXT,
    page_views INTEGER NOT NULL DEFAULT 0,
    bounced INTEGER NOT NULL DEFAULT 1,
    duration INTEGER NOT NULL DEFAULT 0,
    started_at TEXT NOT NULL,
    last_activity_at TEXT NOT NULL
) WITHOUT ROWID, STRICT;

CREATE INDEX analytics_sessions_started_at ON analytics_sessions (started_at);
CREATE INDEX analytics_sessions_bio_page_id ON analytics_sessions (bio_page_id) WHERE bio_page_id IS NOT NULL;
CREATE INDEX analytics_sessions_creator_id ON analytics_sessions (creator_id) WHERE creator_id IS NOT NULL;

CREATE TABLE analytics_pageviews (
    id TEXT NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL,
    url TEXT NOT NULL,
    path TEXT,
    title TEXT,
    referrer TEXT,
    entered_at TEXT NOT NULL,
    duration REAL,
    scroll_depth REAL
) WITHOUT ROWID, STRICT;

CREATE INDEX analytics_pageviews_session_id ON analytics_pageviews (session_id, id);

-- How far each journal is applied. `writer` is the process that moved the position last: it tells a commit of our own
-- whose answer was lost from one of somebody else.
CREATE TABLE journal_positions (
    journal_id TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,
    writer TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
