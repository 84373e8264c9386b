-- Both tables are partitioned by their UUIDv7 id, which carries its time: the primary key stays the id alone, a look-up
-- by id prunes to one partition, and dropping a day's partition is the whole of retention. There is no DEFAULT partition:
-- it would forbid DETACH ... CONCURRENTLY.
CREATE TABLE analytics_sessions (
    id uuid NOT NULL,
    visitor_id text NOT NULL,
    user_id text,
    bio_page_id uuid,
    creator_id uuid,
    landing_page text NOT NULL,
    referrer text,
    referrer_domain text NOT NULL,
    utm_source text,
    utm_medium text,
    utm_campaign text,
    utm_term text,
    utm_content text,
    device text,
    browser text,
    os text,
    os_version text,
    screen_width integer,
    screen_height integer,
    connection_type text,
    timezone text,
    language text,
    country text,
    city text,
    region text,
    continent text,
    page_views integer NOT NULL DEFAULT 0,
    bounced boolean NOT NULL DEFAULT true,
    duration integer NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- No index on a column that heartbeats and views change (updates stay in their page), and none on the visitor's hash: a
-- random key is what made loading slow down as the table grew.
CREATE INDEX analytics_sessions_started_at ON analytics_sessions USING brin (started_at);
CREATE INDEX analytics_sessions_bio_page_id ON analytics_sessions (bio_page_id) WHERE bio_page_id IS NOT NULL;
CREATE INDEX analytics_sessions_creator_id ON analytics_sessions (creator_id) WHERE creator_id IS NOT NULL;

CREATE TABLE analytics_pageviews (
    id uuid NOT NULL,
    session_id uuid NOT NULL,
    url text NOT NULL,
    path text,
    title text,
    referrer text,
    entered_at timestamptz NOT NULL,
    duration double precision,
    scroll_depth double precision,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE INDEX analytics_pageviews_session_id ON analytics_pageviews (session_id, id);
CREATE INDEX analytics_pageviews_entered_at ON analytics_pageviews USING brin (entered_at);

-- How far each journal is applied. `writer` is the process that moved the position last: it tells a commit of our own
-- whose answer was lost from one of somebody else.
CREATE TABLE journal_positions (
    journal_id text PRIMARY KEY,
    position bigint NOT NULL,
    writer text NOT NULL,
    updated_at text NOT NULL
);
