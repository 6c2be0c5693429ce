-- Beside the rating SMS, an enterprise is told once a loan that its subsidy is set aside without an application.
ALTER TABLE sms ADD COLUMN kind TEXT NOT NULL DEFAULT 'rating' CHECK (kind IN ('rating', 'grant'));
ALTER TABLE sms ALTER COLUMN kind DROP DEFAULT;
-- Invariant 3: exactly one rating SMS for an approved loan; and one notice, however many policies add up.
ALTER TABLE sms DROP CONSTRAINT sms_loan_id_key;
ALTER TABLE sms ADD CONSTRAINT sms_once_a_loan UNIQUE (loan_id, kind);
