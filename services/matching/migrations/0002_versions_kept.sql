-- What the calculator computes from, as it was at every version, so that an answer of the past can be computed again.

-- Each change of the catalog by the version it made; NULL content: gone.
CREATE TABLE catalog_log (
    version         BIGINT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('institution', 'product', 'lpr', 'calendar', 'score', 'adjustment', 'policy')),
    key             TEXT NOT NULL,
    -- By kind: the message of the fact that made the change, or for a score its mean level in ppm as text.
    content         BYTEA,
    -- Two changes never share a version.
    PRIMARY KEY (version)
);
CREATE INDEX catalog_log_entry ON catalog_log (kind, key, version DESC);

-- What was there before this table: as of the version that stands.
INSERT INTO catalog_log (version, kind, key, content)
SELECT row_number() OVER () - count(*) OVER (), entry.kind, entry.key, entry.content FROM (
    SELECT 'institution' AS kind, institution_id AS key, convert_to(name_zh, 'UTF8') AS content FROM institution
    UNION ALL SELECT 'product', product_id::text, content FROM product
    UNION ALL SELECT name, '', content FROM reference
    UNION ALL SELECT 'score', product_id::text, convert_to(mean_level_ppm::text, 'UTF8') FROM product_score) AS entry;

-- Every version of every profile that has come in.
CREATE TABLE profile_log (
    enterprise_id   TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    version         BIGINT NOT NULL,
    -- zhirong.profile.v1.Profile
    content         BYTEA NOT NULL,
    PRIMARY KEY (enterprise_id, version)
);
INSERT INTO profile_log (enterprise_id, version, content) SELECT enterprise_id, version, content FROM profile;

-- By which replicas follow each other's changes; read with an overlap, because transactions commit out of order.
ALTER TABLE profile ADD COLUMN changed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp();
CREATE INDEX profile_changed ON profile (changed_at);
