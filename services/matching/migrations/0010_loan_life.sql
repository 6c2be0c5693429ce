-- The life of a loan after it was paid out: repayments, changed terms, settlement, renewal, default, recoveries.

ALTER TABLE loan DROP CONSTRAINT loan_state_check;
ALTER TABLE loan ADD CONSTRAINT loan_state_check
    CHECK (state IN ('approved', 'disbursed', 'settled', 'defaulted'));

-- Paid out once and for all: every state but the first has an amount.
DO $$
DECLARE
    old TEXT;
BEGIN
    SELECT conname INTO STRICT old FROM pg_constraint
    WHERE conrelid = 'loan'::regclass AND contype = 'c'
      AND pg_get_constraintdef(oid) LIKE '%(state = ''disbursed''::text) = (disbursed_fen IS NOT NULL)%';
    EXECUTE format('ALTER TABLE loan DROP CONSTRAINT %I', old);
END
$$;
ALTER TABLE loan ADD CONSTRAINT loan_paid_out CHECK ((state <> 'approved') = (disbursed_fen IS NOT NULL));

-- These columns, not the message beside them, say what is owed: loans paid out before this migration get their sum here.
ALTER TABLE loan
    ADD COLUMN outstanding_fen   BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN recovered_fen     BIGINT NOT NULL DEFAULT 0 CHECK (recovered_fen >= 0),
    -- Value date of the last thing that happened to the loan; nothing happens before it any more.
    ADD COLUMN last_event_on     DATE,
    ADD COLUMN renews_loan_id    UUID REFERENCES loan;
UPDATE loan SET outstanding_fen = disbursed_fen, last_event_on = disbursed_on WHERE state = 'disbursed';

-- Nobody owes more than was paid out, and who has settled owes nothing.
ALTER TABLE loan ADD CONSTRAINT loan_owed CHECK (outstanding_fen BETWEEN 0 AND coalesce(disbursed_fen, 0));
ALTER TABLE loan ADD CONSTRAINT loan_settled_owes_nothing CHECK (state <> 'settled' OR outstanding_fen = 0);
ALTER TABLE loan ADD CONSTRAINT loan_last_event CHECK ((last_event_on IS NULL) = (disbursed_on IS NULL));
ALTER TABLE loan ADD CONSTRAINT loan_recovered_in_default CHECK (recovered_fen = 0 OR state = 'defaulted');
-- Only one loan takes another's place.
CREATE UNIQUE INDEX loan_renewed_once ON loan (renews_loan_id) WHERE renews_loan_id IS NOT NULL AND state <> 'approved';
-- Lists, newest first.
CREATE INDEX loan_newest ON loan (approved_at, loan_id);
CREATE INDEX loan_of_enterprise ON loan (enterprise_id, approved_at, loan_id);
CREATE INDEX loan_of_institution ON loan (institution_id, approved_at, loan_id);
