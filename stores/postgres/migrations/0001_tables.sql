-- The tables. What is hot stays small: a task that ends leaves `task` for `ended`, and a claim writes
-- a row of `lease` without touching the task's, which carries the payload.
--
-- Every change to a task is made under its row's lock in `task`, the judge; only renewals go by the
-- lock of the lease. Times are microseconds since 1970, and numbers without a sign are kept by
-- their bits. `conveyor` stands for the schema's name.

-- One row: the clock's offset, which nobody but tests changes, and when somebody last looked for
-- the dead.
create table conveyor.setting (
    one boolean primary key default true check (one),
    clock_offset int8 not null default 0,
    last_rescue int8,
    no_rescue_before int8 not null default -9223372036854775808
);
insert into conveyor.setting default values;

-- A queue's tasks of one kind and priority. The id follows from the names, and nothing here is
-- unique, so that nobody waits for another's open transaction to name a lane; a lane that is here
-- twice does no harm.
create table conveyor.lane (
    id int8 not null,
    queue text collate "C" not null,
    kind text collate "C" not null,
    priority int2 not null,
    kind_id int8 not null
);
create index lane_names on conveyor.lane (queue, kind, priority);
create index lane_id on conveyor.lane (id);

-- Queues that give out nothing.
create table conveyor.pause (
    queue text collate "C" primary key
);

create sequence conveyor.age;

-- The tasks that have not ended.
create table conveyor.task (
    id uuid primary key,
    lane int8 not null,
    due int8 not null,
    age int8 not null,
    kind_id int8 not null,
    -- The number of its last claim that is over, and who settled that; nobody if it was rescued.
    epoch int8 not null default 0,
    holder int8,
    timeout int8,
    retries int8,
    errors int4 not null default 0,
    crashes int4 not null default 0,
    interruptions int4 not null default 0,
    snoozes int4 not null default 0,
    parked boolean not null default false,
    suspect boolean not null default false,
    -- It was not due when it came or was postponed.
    delayed boolean not null default false,
    key text collate "C",
    note text,
    codec text not null,
    payload bytea not null
);
create unique index task_key on conveyor.task (key, kind_id) where key is not null;
create index task_place on conveyor.task (lane, due, age) where not parked and not suspect;
create index task_suspect on conveyor.task (lane, due, age) where suspect and not parked;
create index task_parked on conveyor.task (lane) where parked;

-- The claims that hold.
create table conveyor.lease (
    task uuid primary key,
    lane int8 not null,
    epoch int8 not null,
    holder int8 not null,
    -- The claim's request.
    token int8 not null,
    ends int8 not null,
    interrupted boolean not null default false,
    cancel boolean not null default false,
    -- It was claimed alone.
    alone boolean not null default false,
    -- Others that its holder held at the same time were rescued.
    company boolean not null default false
);
create index lease_request on conveyor.lease (holder, token);
create index lease_alone on conveyor.lease (holder) where alone;
create index lease_company on conveyor.lease (holder) where company;

-- How tasks ended.
create table conveyor.ended (
    id uuid primary key,
    lane int8 not null,
    due int8 not null,
    at int8 not null,
    -- 0 succeeded, 1 failed, 2 cancelled, 3 crashed.
    how int2 not null,
    why text,
    epoch int8 not null,
    -- Whose settle of the last claim took effect, and who held it when it ended.
    holder int8,
    ended_by int8,
    errors int4 not null,
    crashes int4 not null,
    interruptions int4 not null,
    snoozes int4 not null,
    key text collate "C",
    note text
);
create index ended_at on conveyor.ended (how, at);
create index ended_key on conveyor.ended (key) where key is not null;

-- The attempts that did not end their tasks, the last few of each.
create table conveyor.attempt (
    task uuid not null,
    epoch int8 not null,
    holder int8 not null,
    at int8 not null,
    -- 0 failed, 1 snoozed, 2 returned, 3 parked, 4 interrupted, 5 suspected, 6 crashed.
    how int2 not null,
    why text,
    primary key (task, epoch)
);

-- What is counted. Batches append, so that they do not wait for each other; `counted` takes it up.
-- 0 enqueued, 1 processed, 2 failed, 3 cancelled, 4 crashed, 5 retried, 6 panicked, 7 timed out,
-- 8 snoozed, 9 returned, 10 duplicates. How many tasks are in a state now is looked up.
create table conveyor.counting (
    lane int8 not null,
    what int2 not null,
    n int8 not null
);
create table conveyor.counted (
    lane int8 not null,
    what int2 not null,
    n int8 not null,
    primary key (lane, what)
);

create table conveyor.schedule (
    name text collate "C" primary key,
    cadence text not null,
    missed text not null,
    overlap text not null,
    revision int8 not null,
    anchor int8 not null,
    mark int8 not null,
    last uuid
);

-- Rows come and go by the second: these are swept often, whatever their size.
alter table conveyor.lease set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table conveyor.counting set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table conveyor.task set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
