-- Better terms of a product for a set of enterprises, as the catalog has approved them.
CREATE TABLE adjustment (
    adjustment_id   UUID PRIMARY KEY,
    -- Orders the facts about one product; the newest about the adjustment is kept.
    sequence        BIGINT NOT NULL,
    -- zhirong.catalog.v1.Adjustment; NULL when it has been ended.
    content         BYTEA
);
