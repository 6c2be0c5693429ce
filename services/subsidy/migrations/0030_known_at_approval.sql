-- What an approval told of the borrower stays with the loan: whether a pool bears a part of its loss, and what a policy would have given
-- it, is judged by that, whatever is known of the enterprise later. None where the approval told nothing, as all did whose loans are
-- here already, and where it was erased: those are judged by what is known of the enterprise on the day.
ALTER TABLE loan
    -- zhirong.matching.v1.LoanApproved without its loan.
    ADD COLUMN known BYTEA,
    -- The version of the profile that it comes from.
    ADD COLUMN known_version BIGINT CHECK (known_version > 0),
    ADD CONSTRAINT loan_known_has_a_version CHECK ((known IS NULL) = (known_version IS NULL));
-- Written once and seldom read: an approval spends no time on making it smaller, and where it is large it stands beside the row, which
-- is written anew with every fact about the loan.
ALTER TABLE loan ALTER COLUMN known SET STORAGE EXTERNAL;

-- Enterprises whose past data were erased: what comes of their profiles up to this version is not kept, whichever of the two is
-- heard of first.
CREATE TABLE erasure (
    enterprise_id   TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    profile_version BIGINT NOT NULL CHECK (profile_version >= 0)
);
