-- The institutions of the catalog: a consent can be given to these alone. An institution is never taken out.
CREATE TABLE institution (
    institution_id TEXT PRIMARY KEY
);
