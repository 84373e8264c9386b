-- What the writer sends: a batch is one array of these. Apart from the tables, so that a column that a later version adds
-- does not refuse the rows of an instance that is still the older one.
CREATE TYPE analytics_session_row AS (
    id uuid,
    visitor_id text,
    user_id text,
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
    timezone text,
    language text,
    country text,
    city text,
    region text,
    continent text,
    page_views integer,
    bounced boolean,
    duration integer,
    started_at timestamptz,
    last_activity_at timestamptz
);

CREATE TYPE analytics_pageview_row AS (
    id uuid,
    session_id uuid,
    url text,
    path text,
    title text,
    referrer text,
    entered_at timestamptz,
    duration double precision,
    scroll_depth double precision
);
