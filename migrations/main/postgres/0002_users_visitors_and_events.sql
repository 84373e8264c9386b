-- Consent is evidence: rows are added, never changed. The one door is for jobs that must erase: they say
-- SET LOCAL weir.consent_maintenance = 'on' in their own transaction.
CREATE FUNCTION refuse_consent_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('weir.consent_maintenance', true) = 'on' THEN
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'consent_records is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER consent_records_append_only BEFORE UPDATE OR DELETE ON consent_records
    FOR EACH ROW EXECUTE FUNCTION refuse_consent_change();
CREATE TRIGGER consent_records_not_truncated BEFORE TRUNCATE ON consent_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_consent_change();

CREATE TABLE users (
    -- Opaque: an account service may bring ids of its own.
    id text PRIMARY KEY,
    hash_id text NOT NULL UNIQUE,
    email text UNIQUE,
    -- Unique by its hash: a code that an account service brings may be longer than an entry of a b-tree.
    referral_code text NOT NULL,
    invited_by_id text,
    signup_referral_code text,
    first_referrer_url text,
    first_landing_page text,
    acquired_via_creator_id text,
    utm_source text,
    utm_medium text,
    utm_campaign text,
    utm_term text,
    utm_content text,
    registration_device text,
    registration_country text,
    created_at timestamptz NOT NULL,
    EXCLUDE USING hash (referral_code WITH =)
);

-- Who a user is elsewhere.
CREATE TABLE user_identities (
    provider text NOT NULL,
    subject text NOT NULL,
    user_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (provider, subject)
);

-- One row an address that asked for a code within the last hour; neither the address nor the code is readable.
-- `codes_at` and `failures_at` are JSON lists: the moments (milliseconds since 1970) of codes and failures that still count.
CREATE TABLE sign_in_codes (
    address_hash text PRIMARY KEY,
    code_hash text,
    expires_at timestamptz NOT NULL,
    codes_at text NOT NULL,
    failures_at text NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX sign_in_codes_updated_at ON sign_in_codes (updated_at);

CREATE TABLE visitors (
    token text PRIMARY KEY,
    fingerprint text,
    user_agent text,
    utm_source text,
    utm_medium text,
    utm_campaign text,
    utm_term text,
    utm_content text,
    referrer text,
    landing_url text,
    invited_by_id text,
    user_id text,
    country text,
    city text,
    state text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- The few that are to be rebuilt at a start, and to be cleared.
CREATE INDEX visitors_fingerprinted ON visitors (created_at) WHERE fingerprint IS NOT NULL;
CREATE INDEX visitors_created_at ON visitors (created_at);

CREATE TABLE funnel_events (
    id uuid PRIMARY KEY,
    user_id text NOT NULL,
    event text NOT NULL,
    session_id text,
    properties jsonb,
    created_at timestamptz NOT NULL
);

CREATE INDEX funnel_events_user_id ON funnel_events (user_id, id);
CREATE INDEX funnel_events_created_at ON funnel_events USING brin (created_at);
