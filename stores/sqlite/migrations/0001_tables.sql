-- All names begin with conveyor_, since the tables may lie in a user's own database.
-- Times are microseconds since 1970. Numbers of 64 bits without a sign are kept by their bits.

CREATE TABLE conveyor_meta (
    one              INTEGER PRIMARY KEY CHECK (one = 1),
    -- The version of these tables, and the oldest one that a program may know and still use them.
    version          INTEGER NOT NULL,
    usable_from      INTEGER NOT NULL,
    last_rescue      INTEGER,
    no_rescue_before INTEGER NOT NULL DEFAULT 0,
    -- How many ended tasks are kept, and the number of the last end.
    ended            INTEGER NOT NULL DEFAULT 0,
    ends             INTEGER NOT NULL DEFAULT 0,
    -- Rises whenever a schedule changes.
    schedules        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE conveyor_queues (
    queue        INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    paused       INTEGER NOT NULL DEFAULT 0,
    -- Tasks that claims took since the last one that went to the oldest.
    since_ageing INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE conveyor_kinds (
    kind INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- A queue's tasks of one kind, with their counts.
CREATE TABLE conveyor_streams (
    stream     INTEGER PRIMARY KEY,
    queue      INTEGER NOT NULL REFERENCES conveyor_queues,
    kind       INTEGER NOT NULL REFERENCES conveyor_kinds,
    scheduled  INTEGER NOT NULL DEFAULT 0,
    queued     INTEGER NOT NULL DEFAULT 0,
    active     INTEGER NOT NULL DEFAULT 0,
    parked     INTEGER NOT NULL DEFAULT 0,
    enqueued   INTEGER NOT NULL DEFAULT 0,
    processed  INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    cancelled  INTEGER NOT NULL DEFAULT 0,
    crashed    INTEGER NOT NULL DEFAULT 0,
    retried    INTEGER NOT NULL DEFAULT 0,
    panicked   INTEGER NOT NULL DEFAULT 0,
    timed_out  INTEGER NOT NULL DEFAULT 0,
    snoozed    INTEGER NOT NULL DEFAULT 0,
    returned   INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0,
    UNIQUE (queue, kind)
) STRICT;

-- A task, without what is long: it is written anew with every move.
CREATE TABLE conveyor_tasks (
    -- The order of acceptance.
    age           INTEGER PRIMARY KEY,
    id            BLOB    NOT NULL UNIQUE,
    stream        INTEGER NOT NULL REFERENCES conveyor_streams,
    kind          INTEGER NOT NULL,
    key           TEXT,
    priority      INTEGER NOT NULL,
    -- 0 scheduled, 1 queued, 2 active, 3 parked, 4 ended
    state         INTEGER NOT NULL,
    due           INTEGER NOT NULL,
    epoch         INTEGER NOT NULL DEFAULT 0,
    -- Who holds it while it is active; who held it last, after that.
    holder        INTEGER NOT NULL DEFAULT 0,
    token         INTEGER NOT NULL DEFAULT 0,
    lease_ends    INTEGER NOT NULL DEFAULT 0,
    -- Claimed only alone.
    suspect       INTEGER NOT NULL DEFAULT 0,
    -- The lease runs out by itself, at no cost.
    interrupted   INTEGER NOT NULL DEFAULT 0,
    cancel        INTEGER NOT NULL DEFAULT 0,
    -- Seconds in eight bytes and nanoseconds in four.
    timeout       BLOB,
    retries       INTEGER,
    errors        INTEGER NOT NULL DEFAULT 0,
    crashes       INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    snoozes       INTEGER NOT NULL DEFAULT 0,
    -- The last error, or why it is parked.
    note          TEXT,
    -- 0 succeeded, 1 failed, 2 cancelled, 3 crashed; why; when; as the how-manieth; by whom.
    ending        INTEGER,
    why           TEXT,
    ended_at      INTEGER,
    ended_as      INTEGER,
    ended_by      INTEGER
) STRICT;

-- A key is a property of the live task: the row that holds it is the task itself.
CREATE UNIQUE INDEX conveyor_keys ON conveyor_tasks (kind, key) WHERE key IS NOT NULL AND state < 4;
CREATE INDEX conveyor_lanes ON conveyor_tasks (stream, priority, due, age) WHERE state = 1 AND suspect = 0;
CREATE INDEX conveyor_suspects ON conveyor_tasks (priority, due, age) WHERE state = 1 AND suspect = 1;
CREATE INDEX conveyor_delayed ON conveyor_tasks (due, age) WHERE state = 0;
CREATE INDEX conveyor_delayed_streams ON conveyor_tasks (stream, due, age) WHERE state = 0;
CREATE INDEX conveyor_leases ON conveyor_tasks (lease_ends) WHERE state = 2;
-- Each sort of end is kept for a time of its own.
CREATE INDEX conveyor_ended ON conveyor_tasks (ending, ended_as) WHERE state = 4;

-- What the worker gets; gone when the task has ended.
CREATE TABLE conveyor_payloads (
    age   INTEGER PRIMARY KEY,
    codec TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

-- Attempts that are over, while their task went on.
CREATE TABLE conveyor_attempts (
    age    INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    -- 0 failed, 1 snoozed, 2 returned, 3 parked, 4 interrupted, 5 suspected, 6 crashed
    ended  INTEGER NOT NULL,
    why    TEXT,
    PRIMARY KEY (age, epoch)
) STRICT, WITHOUT ROWID;

-- A process that holds claims; forgotten with the last of them.
CREATE TABLE conveyor_holders (
    holder          INTEGER PRIMARY KEY,
    held            INTEGER NOT NULL,
    alone           INTEGER NOT NULL DEFAULT 0,
    died_in_company INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The requests that were given something, so that each is answered the same again.
CREATE TABLE conveyor_claims (
    holder INTEGER NOT NULL,
    token  INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (holder, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX conveyor_claims_by_time ON conveyor_claims (at);

CREATE TABLE conveyor_schedules (
    name     TEXT PRIMARY KEY,
    cadence  TEXT    NOT NULL,
    missed   TEXT    NOT NULL,
    overlap  TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    anchor   INTEGER NOT NULL,
    mark     INTEGER NOT NULL,
    -- The task of its last tick.
    last     BLOB
) STRICT, WITHOUT ROWID;

INSERT INTO conveyor_meta (one, version, usable_from) VALUES (1, 1, 1);
