-- The order in which consents are applied, whatever the clock says: a user's newest consent is the one with the highest number.
-- Not the rowid: VACUUM may give other ones to a table like this.
ALTER TABLE consent_records ADD COLUMN stored_order INTEGER;

INSERT INTO consent_maintenance (reason) VALUES ('numbered');
UPDATE consent_records SET stored_order = numbered.place
FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS place FROM consent_records) AS numbered
WHERE consent_records.id = numbered.id;
DELETE FROM consent_maintenance WHERE reason = 'numbered';

CREATE INDEX consent_records_order ON consent_records (stored_order);
DROP INDEX consent_records_user_id;
CREATE INDEX consent_records_user_order ON consent_records (user_id, stored_order DESC, created_at DESC, id DESC)
    WHERE user_id IS NOT NULL;

-- A row that brings no number, whoever adds it, gets the next one at once: the one change of a row that is none.
DROP TRIGGER consent_records_not_updated;
CREATE TRIGGER consent_records_not_updated BEFORE UPDATE ON consent_records
WHEN NOT EXISTS (SELECT 1 FROM consent_maintenance)
    AND (OLD.stored_order IS NOT NULL
        OR (OLD.id, OLD.user_id, OLD.document_type, OLD.document_version, OLD.accepted, OLD.preferences, OLD.ip_address,
            OLD.user_agent, OLD.created_at, OLD.rowid)
            IS NOT (NEW.id, NEW.user_id, NEW.document_type, NEW.document_version, NEW.accepted, NEW.preferences,
                NEW.ip_address, NEW.user_agent, NEW.created_at, NEW.rowid))
BEGIN
    SELECT RAISE(ABORT, 'consent_records is append-only');
END;

CREATE TRIGGER consent_records_numbered AFTER INSERT ON consent_records
WHEN NEW.stored_order IS NULL
BEGIN
    UPDATE consent_records SET stored_order = (SELECT coalesce(max(stored_order), 0) + 1 FROM consent_records)
    WHERE id = NEW.id;
END;
