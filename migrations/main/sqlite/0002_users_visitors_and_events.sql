-- Consent is evidence: rows are added, never changed. The one door is for jobs that must erase: they put a row into
-- consent_maintenance and take it out again in their own transaction.
CREATE TABLE consent_maintenance (
    reason TEXT NOT NULL
) STRICT;

CREATE TRIGGER consent_records_not_updated BEFORE UPDATE ON consent_records
WHEN NOT EXISTS (SELECT 1 FROM consent_maintenance)
BEGIN
    SELECT RAISE(ABORT, 'consent_records is append-only');
END;

CREATE TRIGGER consent_records_not_deleted BEFORE DELETE ON consent_records
WHEN NOT EXISTS (SELECT 1 FROM consent_maintenance)
BEGIN
    SELECT RAISE(ABORT, 'consent_records is append-only');
END;

-- INSERT OR REPLACE deletes without asking the trigger above, by the id or by the rowid that it brings (-1 for none).
CREATE TRIGGER consent_records_not_replaced BEFORE INSERT ON consent_records
WHEN EXISTS (SELECT 1 FROM consent_records WHERE id = NEW.id OR rowid = NEW.rowid)
BEGIN
    SELECT RAISE(ABORT, 'consent_records is append-only');
END;

CREATE TABLE users (
    -- Opaque: an account service may bring ids of its own.
    id TEXT NOT NULL PRIMARY KEY,
    hash_id TEXT NOT NULL UNIQUE,
    email TEXT UNIQUE,
    referral_code TEXT NOT NULL UNIQUE,
    invited_by_id TEXT,
    signup_referral_code TEXT,
    first_referrer_url TEXT,
    first_landing_page TEXT,
    acquired_via_creator_id TEXT,
    utm_source TEXT,
    utm_medium TEXT,
    utm_campaign TEXT,
    utm_term TEXT,
    utm_content TEXT,
    registration_device TEXT,
    registration_country TEXT,
    created_at TEXT NOT NULL
) STRICT;

-- Who a user is elsewhere.
CREATE TABLE user_identities (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (provider, subject)
) STRICT;

-- One row an address that asked for a code within the last hour; neither the address nor the code is readable.
-- `codes_at` and `failures_at` are JSON lists: the moments (milliseconds since 1970) of codes and failures that still count.
CREATE TABLE sign_in_codes (
    address_hash TEXT NOT NULL PRIMARY KEY,
    code_hash TEXT,
    expires_at TEXT NOT NULL,
    codes_at TEXT NOT NULL,
    failures_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE INDEX sign_in_codes_updated_at ON sign_in_codes (updated_at);

CREATE TABLE visitors (
    token TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT,
    user_agent TEXT,
    utm_source TEXT,
    utm_medium TEXT,
    utm_campaign TEXT,
    utm_term TEXT,
    utm_content TEXT,
    referrer TEXT,
    landing_url TEXT,
    invited_by_id TEXT,
    user_id TEXT,
    country TEXT,
    city TEXT,
    state TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

-- The few that are to be rebuilt at a start, and to be cleared.
CREATE INDEX visitors_fingerprinted ON visitors (created_at) WHERE fingerprint IS NOT NULL;
CREATE INDEX visitors_created_at ON visitors (created_at);

CREATE TABLE funnel_events (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    event TEXT NOT NULL,
    session_id TEXT,
    properties TEXT,
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX funnel_events_user_id ON funnel_events (user_id, id);
CREATE INDEX funnel_events_created_at ON funnel_events (created_at);
