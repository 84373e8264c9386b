-- What the writer sends, as in 0003, in the order in which records are declared: first the record's own columns, then those
-- that later records change. The types of 0003 stay for an instance that is still the older one.
CREATE TYPE analytics_session_row_2 AS (
    id uuid,
    started_at timestamptz,
    visitor_id text,
    bio_page_id uuid,
    creator_id uuid,
    landing_page text,
    referrer text,
    referrer_domain text,
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
    language text,
    country text,
    city text,
    region text,
    continent text,
    timezone text,
    user_id text,
    page_views integer,
    bounced boolean,
    duration integer,
    last_activity_at timestamptz
);

CREATE TYPE analytics_pageview_row_2 AS (
    id uuid,
    entered_at timestamptz,
    session_id uuid,
    url text,
    path text,
    title text,
    referrer text,
    duration double precision,
    scroll_depth double precision
);
