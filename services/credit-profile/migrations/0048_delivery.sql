-- Ends of deliveries that are not answered yet: an answer needs everything before the end to be judged.
CREATE TABLE delivery_end (
    event_id        text        PRIMARY KEY,
    delivery_id     text        NOT NULL,
    source          text        NOT NULL,
    stream_sequence bigint      NOT NULL,
    ended_at        timestamptz NOT NULL
);
