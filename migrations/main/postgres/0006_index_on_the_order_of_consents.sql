-- Apart from the column: while an index is made, consents are still read.
SET LOCAL statement_timeout = 0;
CREATE INDEX consent_records_user_order ON consent_records (user_id, stored_order DESC, created_at DESC, id DESC)
    WHERE user_id IS NOT NULL;
DROP INDEX consent_records_user_id;
