-- What the shell of every service keeps beside the service's own tables: events on their way out, ids of events that came in,
-- messages that could not be used, answers already given.
CREATE SCHEMA IF NOT EXISTS runtime;

-- The last version that each aggregate has reported. One row an aggregate, so that UNIQUE(aggregate, version) holds for all time,
-- beyond the days that the outbox's partitions are kept: an event is inserted only where it raises this version.
CREATE TABLE runtime.aggregate (
    kind    TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    version BIGINT NOT NULL CHECK (version > 0),
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 80); -- room for updates in place

-- Events, written in the transaction of the change they report. Partitioned by the day of creation, dropped by partition.
CREATE TABLE runtime.outbox (
    created_on        DATE        NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date, -- the database's day, not the business's
    event_id          UUID        NOT NULL,
    aggregate_kind    TEXT        NOT NULL,
    aggregate_id      TEXT        NOT NULL,
    aggregate_version BIGINT      NOT NULL,
    stream            TEXT        NOT NULL,
    subject           TEXT        NOT NULL,
    event_type        TEXT        NOT NULL,
    occurred_at       TIMESTAMPTZ NOT NULL,
    trace_parent      TEXT,
    payload           BYTEA       NOT NULL,
    -- What the broker's acknowledgement said. A stream created anew has another epoch.
    published_at      TIMESTAMPTZ,
    stream_epoch      TEXT,
    stream_sequence   BIGINT,
    PRIMARY KEY (created_on, event_id),
    -- One event a version; across days runtime.aggregate guarantees it.
    UNIQUE (created_on, aggregate_kind, aggregate_id, aggregate_version),
    CHECK ((published_at IS NULL) = (stream_sequence IS NULL)),
    CHECK ((published_at IS NULL) = (stream_epoch IS NULL))
) PARTITION BY RANGE (created_on);

-- The relay looks for unpublished rows, never past a cursor.
CREATE INDEX outbox_unpublished ON runtime.outbox (event_id) WHERE published_at IS NULL;

-- Catches what no day's partition takes, so that a write never fails for want of a partition.
CREATE TABLE runtime.outbox_default PARTITION OF runtime.outbox DEFAULT;

-- The highest sequence that the broker acknowledged on each stream: below it nothing may be missing.
CREATE TABLE runtime.stream_mark (
    stream       TEXT        NOT NULL PRIMARY KEY,
    epoch        TEXT        NOT NULL,
    sequence     BIGINT      NOT NULL,
    updated_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- UNIQUE(consumer, event) in the effect's own transaction is what makes a delivery count once.
CREATE TABLE runtime.inbox (
    consumer TEXT        NOT NULL,
    event_id TEXT        NOT NULL,
    seen_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_seen_at ON runtime.inbox USING brin (seen_at);

-- Messages that could not be used, whole, so that they can be looked at and handled again.
CREATE TABLE runtime.dead_letter (
    dead_letter_id      UUID        NOT NULL PRIMARY KEY,
    consumer            TEXT        NOT NULL,
    event_id            TEXT        NOT NULL, -- empty when the message had none
    event_type          TEXT        NOT NULL, -- likewise
    subject             TEXT        NOT NULL,
    stream              TEXT        NOT NULL,
    stream_sequence     BIGINT      NOT NULL,
    headers             JSONB       NOT NULL,
    payload             BYTEA       NOT NULL,
    reason              TEXT        NOT NULL,
    recorded_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    replay_requested_at TIMESTAMPTZ,
    replays             INTEGER     NOT NULL DEFAULT 0,
    resolved_at         TIMESTAMPTZ,
    -- A resolved one is not handled again.
    CHECK (resolved_at IS NULL OR replay_requested_at IS NULL)
);
CREATE INDEX dead_letter_open ON runtime.dead_letter (consumer) WHERE resolved_at IS NULL;
CREATE INDEX dead_letter_replay ON runtime.dead_letter (consumer, replay_requested_at) WHERE replay_requested_at IS NOT NULL;

-- One answer for each (caller, method, request id): a repeated request gets it again, another body under the id is refused.
CREATE TABLE runtime.request_log (
    caller       TEXT        NOT NULL,
    method       TEXT        NOT NULL,
    request_id   UUID        NOT NULL,
    request_hash BYTEA       NOT NULL CHECK (octet_length(request_hash) = 32),
    response     BYTEA, -- null only inside the transaction that makes it
    created_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (caller, method, request_id)
);
CREATE INDEX request_log_created_at ON runtime.request_log USING brin (created_at);

-- Creates the outbox's partitions for today and `ahead` days more, and drops those older than `keep` days in which everything
-- was published. Returns how many old partitions still hold unpublished events and were kept.
CREATE FUNCTION runtime.maintain_outbox(ahead INTEGER, keep INTEGER) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
    today DATE := (now() AT TIME ZONE 'UTC')::date;
    day   DATE;
    part  RECORD;
    busy  BOOLEAN;
    held  INTEGER := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('zhirong.runtime.maintain_outbox'));
    FOR day IN SELECT generate_series(today, today + ahead, INTERVAL '1 day')::date LOOP
        -- Rows of that day already in the default partition would make the creation fail; then the day stays there.
        IF to_regclass(format('runtime.outbox_%s', to_char(day, 'YYYYMMDD'))) IS NULL
           AND NOT EXISTS (SELECT FROM runtime.outbox_default WHERE created_on = day) THEN
            -- every row is updated once, when it is published: room for that, and a vacuum soon after
            EXECUTE format('CREATE TABLE runtime.outbox_%s PARTITION OF runtime.outbox FOR VALUES FROM (%L) TO (%L)
                            WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)',
                           to_char(day, 'YYYYMMDD'), day, day + 1);
        END IF;
    END LOOP;
    FOR part IN
        SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'runtime.outbox'::regclass AND c.relname ~ '^outbox_[0-9]{8}$'
          AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - keep
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM runtime.%I WHERE published_at IS NULL)', part.name) INTO busy;
        IF busy THEN
            held := held + 1;
        ELSE
            EXECUTE format('DROP TABLE runtime.%I', part.name);
        END IF;
    END LOOP;
    DELETE FROM runtime.outbox_default WHERE created_on < today - keep AND published_at IS NOT NULL;
    RETURN held;
END
$$;

SELECT runtime.maintain_outbox(7, 14);
