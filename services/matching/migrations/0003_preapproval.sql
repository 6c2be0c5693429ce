-- Pre-approved credit: what each enterprise may have without asking.
CREATE TABLE preapproval (
    enterprise_id       TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    version             BIGINT NOT NULL CHECK (version > 0),
    -- zhirong.matching.v1.Preapproval
    content             BYTEA NOT NULL,
    -- The largest of its limits; NULL when no product takes the enterprise.
    largest_limit_fen   BIGINT CHECK (largest_limit_fen > 0)
);

-- Enterprises to be computed again, because their profile or a product that concerns them has changed. Written in the
-- transaction of the change, taken in the transaction of the answer.
CREATE TABLE preapproval_due (
    enterprise_id       TEXT PRIMARY KEY
);

-- One row: the catalog and the day up to which changes of products have been followed; none before the first time.
CREATE TABLE preapproval_followed (
    single              BOOLEAN PRIMARY KEY DEFAULT true CHECK (single),
    catalog_version     BIGINT NOT NULL,
    day                 DATE NOT NULL
);
