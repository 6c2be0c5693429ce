-- Enterprises whose past data were erased, each with the last time: what was placed until then loses its profile, whichever
-- of the two is heard of first.
CREATE TABLE erasure (
    enterprise_id   TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    erased_at       TIMESTAMPTZ NOT NULL,
    -- The profile that stood then; it goes when there is a newer one.
    profile_version BIGINT NOT NULL CHECK (profile_version >= 0)
);

-- Since when an order's profile holds nothing but the class of the enterprise, which an approval and its subsidy go by.
ALTER TABLE orders ADD COLUMN profile_erased_at TIMESTAMPTZ;
