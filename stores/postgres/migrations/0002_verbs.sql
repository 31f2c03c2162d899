-- The verbs that are called by the thousand, one call a batch.
--
-- The tables are empty in one minute and have millions of rows in the next, while plans are kept. So
-- no plan here may depend on how many rows there are: a table is always entered by an index, with
-- `= any(…)`, in the order of a lane, or row by row in a subquery that `offset 0` keeps apart.
-- A function's name ends with its
-- version: a new one comes beside the old, which goes when no process of that time is left.

-- The store's clock.
create function conveyor.now() returns int8
language plpgsql volatile as $$
begin
    return (extract(epoch from clock_timestamp()) * 1000000)::int8
        + (select clock_offset from conveyor.setting);
end $$;

-- A time so much later, or the last there is.
create function conveyor.later(at int8, by int8) returns int8
language sql immutable as $$
    select case when by > 9223372036854775807 - greatest(at, 0) then 9223372036854775807 else at + by end
$$;

-- The number that a text always has.
create function conveyor.number(words text) returns int8
language sql immutable as $$
    select ('x' || encode(substr(sha256(convert_to(words, 'UTF8')), 1, 8), 'hex'))::bit(64)::int8
$$;

-- The lane of these names, which is written down if it is new.
create function conveyor.lane_1(p_queue text, p_kind text, p_priority int2)
returns table (id int8, kind_id int8)
language plpgsql as $$
#variable_conflict use_column
begin
    return query select id, kind_id from conveyor.lane
    where queue = p_queue and kind = p_kind and priority = p_priority limit 1;
    if not found then
        -- Names have no control characters, so the line break tells them apart.
        return query insert into conveyor.lane (id, queue, kind, priority, kind_id)
        values (
            conveyor.number(p_queue || E'\n' || p_kind || E'\n' || p_priority),
            p_queue, p_kind, p_priority, conveyor.number(p_kind)
        )
        returning id, kind_id;
    end if;
end $$;

-- Accepts tasks, in their order. Starts: 0 now, 1 after `time`, 2 at `time`.
-- Replies: 0 accepted, 1 accepted before, 2 a live task has the key.
--
-- Who meets the key of a transaction that is open waits a little and then takes it for held,
-- whichever task holds it.
create function conveyor.enqueue_1(
    p_ids uuid[], p_lanes int8[], p_kinds int8[], p_keys text[], p_starts int2[], p_times int8[],
    p_codecs text[], p_payloads bytea[], p_timeouts int8[], p_retries int8[]
) returns table (nth int4, reply int2, rival uuid, due int8, moment int8)
language plpgsql
set lock_timeout = '100ms'
set enable_nestloop = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_now int8 := conveyor.now();
    v_ages int8[];
    v_new uuid[];
    v_one uuid[];
    v_gone uuid[];
    v_at int4;
    v_is_keyed boolean := exists (select from unnest(p_keys) key where key is not null);
begin
    v_ages := array(select nextval('conveyor.age') from generate_subscripts(p_ids, 1));
    if not v_is_keyed then
        with new as (
            insert into conveyor.task
                (id, lane, due, age, kind_id, timeout, retries, delayed, key, codec, payload)
            select id, lane, due, age, kind, timeout, retries, due > v_now, null, codec, payload
            from (
                select n.*, case start
                    when 0 then v_now when 1 then conveyor.later(v_now, time) else time end as due
                from unnest(p_ids, p_lanes, p_kinds, p_starts, p_times, p_codecs, p_payloads,
                        p_timeouts, p_retries, v_ages)
                    as n(id, lane, kind, start, time, codec, payload, timeout, retries, age)
            ) n
            where not exists (select from conveyor.ended e where e.id = n.id offset 0)
            on conflict do nothing
            returning id
        )
        select array_agg(id) into v_new from new;
    else
        begin
            v_new := conveyor.insert_1(p_ids, p_lanes, p_kinds, p_keys, p_starts, p_times, p_codecs,
                p_payloads, p_timeouts, p_retries, v_ages, v_now);
        exception when lock_not_available or deadlock_detected then
            -- One of them is held up; the others are not to suffer for it.
            v_new := '{}';
            for v_at in select generate_subscripts(p_ids, 1) loop
                begin
                    perform set_config('lock_timeout', '20ms', true);
                    v_one := conveyor.insert_1(p_ids[v_at:v_at], p_lanes[v_at:v_at],
                        p_kinds[v_at:v_at], p_keys[v_at:v_at], p_starts[v_at:v_at],
                        p_times[v_at:v_at], p_codecs[v_at:v_at], p_payloads[v_at:v_at],
                        p_timeouts[v_at:v_at], p_retries[v_at:v_at], v_ages[v_at:v_at], v_now);
                    v_new := v_new || v_one;
                exception when lock_not_available or deadlock_detected then
                    null;
                end;
            end loop;
        end;
    end if;
    -- One that ended just when it was sent again is not to begin anew.
    with gone as (
        delete from conveyor.task t
        where t.id = any(v_new)
            and exists (select from conveyor.ended e where e.id = t.id offset 0)
        returning id
    )
    select array_agg(id) into v_gone from gone;
    if v_gone is not null then
        v_new := array(select id from unnest(v_new) id where id <> all(v_gone));
    end if;

    return query
    with new as materialized (select distinct id from unnest(v_new) id),
    asked as materialized (
        select a.*, new.id is not null as is_new, t.due,
            t.id is null
                and not exists (select from conveyor.ended e where e.id = a.id offset 0)
                as is_refused
        from unnest(p_ids, p_lanes, p_kinds, p_keys) with ordinality
            as a(id, lane, kind, key, nth)
        left join (select id, due from conveyor.task where id = any(p_ids)) t on t.id = a.id
        left join new on new.id = a.id
    ),
    counts as (
        select lane, 0::int2 as what, count(*) as n
        from (select distinct on (id) lane from asked where is_new order by id, nth) a
        group by lane
        union all
        select lane, 10::int2, count(*) from asked where is_refused group by lane
    ),
    counting as (
        insert into conveyor.counting (lane, what, n) select lane, what, n from counts
    )
    select nth::int4,
        case when is_refused then 2 when is_new then 0 else 1 end::int2,
        case when is_refused then (
            select t.id from conveyor.task t where t.key = a.key and t.kind_id = a.kind
        ) end,
        due, v_now
    from asked a order by nth;
end $$;

-- Inserts tasks in the order of their keys, so that nobody who does the same waits in a circle;
-- tells the ids of those that were not known and whose keys were free.
create function conveyor.insert_1(
    p_ids uuid[], p_lanes int8[], p_kinds int8[], p_keys text[], p_starts int2[], p_times int8[],
    p_codecs text[], p_payloads bytea[], p_timeouts int8[], p_retries int8[], p_ages int8[],
    p_now int8
) returns uuid[]
language plpgsql as $$
#variable_conflict use_column
declare
    v_new uuid[];
begin
    with new as (
        insert into conveyor.task
            (id, lane, due, age, kind_id, timeout, retries, delayed, key, codec, payload)
        select id, lane, due, age, kind, timeout, retries, due > p_now, key, codec, payload
        from (
            select n.*, case start
                when 0 then p_now when 1 then conveyor.later(p_now, time) else time end as due
            from unnest(p_ids, p_lanes, p_kinds, p_keys, p_starts, p_times, p_codecs, p_payloads,
                    p_timeouts, p_retries, p_ages)
                as n(id, lane, kind, key, start, time, codec, payload, timeout, retries, age)
        ) n
        where not exists (select from conveyor.ended e where e.id = n.id offset 0)
        order by key nulls first, kind, age
        on conflict do nothing
        returning id
    )
    select coalesce(array_agg(id), '{}') into v_new from new;
    return v_new;
end $$;

-- Takes tasks under a lease, for one request or for several that ask for the same: then there is a
-- token for each place. `aged` of it go to the oldest. The last row has no task; it says
-- whether a suspect waits, and of a search from the heads of the lanes, over how much it went. If
-- that was much, it says the time too, and which lanes were searched.
--
-- What was claimed or has ended stays in a lane's index until the server tidies up. So a search in a
-- lane starts behind its mark, the place up to which the process has taken all there was. `p_search`:
-- 0 behind the marks, 1 from the heads too if that is not enough, 2 from the heads at once.
create function conveyor.claim_1(
    p_by int8, p_tokens int8[], p_lease int8, p_queues text[], p_kinds text[], p_rooms int4[],
    p_least int2, p_room int4, p_aged int4, p_alone boolean,
    p_marked int8[], p_dues int8[], p_ages int8[], p_search int2
) returns table (
    id uuid, lane int8, epoch int8, due int8, cancel boolean, delayed boolean, key text, codec text,
    payload bytea, timeout int8, retries int8, errors int4, crashes int4, interruptions int4,
    snoozes int4, age int8, from_head boolean, suspects boolean, walked int8, moment int8,
    searched int8[], token int8
)
language plpgsql
-- Whatever is known of the tables, the lanes are read in their order. What is switched off is
-- reckoned so dear that the plan would be compiled, which takes longer than any claim.
set enable_seqscan = off
set jit = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_now int8 := conveyor.now();
    v_ends int8 := conveyor.later(v_now, p_lease);
    -- The lanes that are asked for, the most urgent first: with the place of their kind in the
    -- list, and where the search in them starts.
    v_lanes int8[];
    v_levels int2[];
    v_of int4[];
    v_dues int8[];
    v_ages int8[];
    v_ids uuid[];
    v_rooms int4[] := p_rooms;
    v_need int4 := p_room;
    v_aged int4 := p_aged;
    v_taken int4;
    v_from int4;
    v_to int4;
    v_from_head boolean;
    v_walked int8;
begin
    -- A sign of life: it did not die with what was rescued.
    update conveyor.lease l set company = false where l.task in (
        select task from conveyor.lease where holder = p_by and company for update skip locked
    );
    select array_agg(l.id order by l.priority desc, l.id),
        array_agg(l.priority order by l.priority desc, l.id),
        array_agg(l.nth order by l.priority desc, l.id),
        array_agg(l.due order by l.priority desc, l.id),
        array_agg(l.age order by l.priority desc, l.id)
    into v_lanes, v_levels, v_of, v_dues, v_ages
    from (
        select distinct on (l.id) l.id, l.priority, k.nth::int4,
            coalesce(m.due, '-9223372036854775808') as due,
            coalesce(m.age, '-9223372036854775808') as age
        from unnest(p_kinds) with ordinality as k(kind, nth)
        join conveyor.lane l on l.kind = k.kind
        left join unnest(p_marked, p_dues, p_ages) as m(lane, due, age) on m.lane = l.id
        where l.queue = any(p_queues) and l.priority >= p_least
            and not exists (select from conveyor.pause p where p.queue = l.queue)
    ) l;
    v_from_head := p_search = 2 or not v_lanes && p_marked;
    if v_levels[1] = v_levels[cardinality(v_levels)] then
        v_aged := 0; -- The next are the oldest.
    end if;

    v_ids := array(
        select l.task from conveyor.lease l
        cross join lateral (
            select due, age from conveyor.task t where t.id = l.task offset 0
        ) t
        where l.holder = p_by and l.token = any(p_tokens)
        order by (select priority from conveyor.lane where id = l.lane limit 1) desc, t.due, t.age
    );
    if v_ids <> '{}' or p_room <= 0 or v_lanes is null then
        null; -- It was answered before, or asks for nothing.
    elsif p_alone then
        v_ids := conveyor.claim_alone_1(p_by, p_tokens[1], v_ends, v_lanes, v_levels, v_of, v_rooms);
    elsif exists (select from conveyor.lease where holder = p_by and alone) then
        null; -- It holds a suspect, and gets nothing else.
    else
        loop
            if v_from_head then
                v_dues := array_fill('-9223372036854775808'::int8, array[cardinality(v_lanes)]);
                v_ages := v_dues;
                v_walked := pg_stat_get_xact_tuples_returned('conveyor.task_place'::regclass);
            end if;
            v_to := 0;
            while v_need > v_aged and v_to < cardinality(v_lanes) loop
                v_from := v_to + 1;
                v_to := v_from - 1 + (
                    select count(*) from unnest(v_levels) level where level = v_levels[v_from]);
                return query
                select c.id, c.lane, c.epoch, c.due, false, c.delayed, c.key, c.codec, c.payload,
                    c.timeout, c.retries, c.errors, c.crashes, c.interruptions, c.snoozes, c.age,
                    v_from_head, null::boolean, null::int8, null::int8, null::int8[], c.token
                from conveyor.claim_lanes_1(p_by, p_tokens, p_room - v_need, v_ends, v_now,
                    v_need - v_aged, v_rooms, v_lanes[v_from:v_to], v_of[v_from:v_to], v_dues[v_from:v_to],
                    v_ages[v_from:v_to]) c;
                get diagnostics v_taken = row_count;
                v_need := v_need - v_taken;
                v_rooms := conveyor.rooms_1(p_by, p_tokens, p_room, p_rooms, v_lanes, v_of);
            end loop;
            if v_need > 0 and v_need <= v_aged then
                return query
                select c.id, c.lane, c.epoch, c.due, false, c.delayed, c.key, c.codec, c.payload,
                    c.timeout, c.retries, c.errors, c.crashes, c.interruptions, c.snoozes, c.age,
                    v_from_head, null::boolean, null::int8, null::int8, null::int8[], c.token
                from conveyor.claim_lanes_1(p_by, p_tokens, p_room - v_need, v_ends, v_now,
                    v_need, v_rooms, v_lanes, v_of, v_dues, v_ages) c;
                get diagnostics v_taken = row_count;
                v_need := v_need - v_taken;
                v_rooms := conveyor.rooms_1(p_by, p_tokens, p_room, p_rooms, v_lanes, v_of);
            end if;
            if v_from_head then
                v_walked := pg_stat_get_xact_tuples_returned('conveyor.task_place'::regclass)
                    - v_walked;
            end if;
            exit when v_need <= 0 or v_from_head or p_search = 0;
            v_from_head := true;
        end loop;
    end if;

    return query
    select t.id, t.lane, l.epoch, t.due, l.cancel, t.delayed, t.key, t.codec, t.payload, t.timeout,
        t.retries, t.errors, t.crashes, t.interruptions, t.snoozes, t.age, null::boolean,
        null::boolean, null::int8, null::int8, null::int8[], l.token
    from unnest(v_ids) with ordinality as i(id, nth)
    cross join lateral (select * from conveyor.task t where t.id = i.id offset 0) t
    cross join lateral (select * from conveyor.lease l where l.task = i.id offset 0) l
    order by i.nth;
    return query
    select null::uuid, null::int8, null::int8, null::int8, null::boolean, null::boolean, null::text,
        null::text, null::bytea, null::int8, null::int8, null::int4, null::int4, null::int4,
        null::int4, null::int8, null::boolean,
        exists (
            select from unnest(v_lanes, v_of) as l(id, of)
            join conveyor.task t on t.lane = l.id
            where t.suspect and not t.parked and p_rooms[l.of] > 0
                and not exists (select from conveyor.lease e where e.task = t.id offset 0)
        ),
        v_walked,
        case when v_walked > 2000 then v_now end,
        case when v_walked > 2000 then v_lanes end,
        null::int8;
end $$;

-- Takes the next tasks of these lanes that come behind a place in each, the oldest first whatever
-- their lane. `p_rooms` are of the kinds, to which `p_of` leads.
--
-- Each row is locked where it is found, so that those whom others take at the same time are stepped
-- over; how many to take from which lane is looked up before, without a lock.
create function conveyor.claim_lanes_1(
    p_by int8, p_tokens int8[], p_taken int4, p_ends int8, p_now int8, p_need int4,
    p_rooms int4[], p_lanes int8[], p_of int4[], p_dues int8[], p_ages int8[]
) returns table (
    id uuid, lane int8, epoch int8, due int8, delayed boolean, key text, codec text, payload bytea,
    timeout int8, retries int8, errors int4, crashes int4, interruptions int4, snoozes int4,
    age int8, token int8
)
language plpgsql as $$
#variable_conflict use_column
declare
    v_shares int4[];
begin
    if cardinality(p_lanes) = 1 then
        v_shares := array[least(p_need, p_rooms[p_of[1]])];
    else
        v_shares := array(
            select count(c.lane)::int4
            from unnest(p_lanes) with ordinality as l(id, nth)
            left join (
                select lane from (
                    select t.*, l.of, row_number() over (partition by l.of order by t.due, t.age) as nth
                    from unnest(p_lanes, p_of, p_dues, p_ages) as l(id, of, due, age)
                    cross join lateral (
                        select t.lane, t.due, t.age from conveyor.task t
                        where t.lane = l.id and not t.parked and not t.suspect and t.due <= p_now
                            and (t.due, t.age) > (l.due, l.age)
                            and not exists (
                                select from conveyor.lease e where e.task = t.id offset 0)
                        order by t.due, t.age limit least(p_rooms[l.of], p_need)
                    ) t
                ) t
                where t.nth <= p_rooms[t.of]
                order by t.due, t.age limit p_need
            ) c on c.lane = l.id
            group by l.nth order by l.nth
        );
    end if;
    return query
    with locked as materialized (
        select t.*, case when cardinality(p_tokens) = 1 then p_tokens[1]
            else p_tokens[p_taken + row_number() over (order by t.due, t.age)] end as token
        from unnest(p_lanes, v_shares, p_dues, p_ages) as l(id, share, due, age)
        cross join lateral (
            select t.* from conveyor.task t
            where l.share > 0 and t.lane = l.id and not t.parked and not t.suspect
                and t.due <= p_now and (t.due, t.age) > (l.due, l.age)
                and not exists (select from conveyor.lease e where e.task = t.id offset 0)
            order by t.due, t.age limit l.share
            for no key update of t skip locked
        ) t
    ),
    leased as (
        insert into conveyor.lease (task, lane, epoch, holder, token, ends)
        select id, lane, epoch + 1, p_by, token, p_ends from locked
        on conflict do nothing
        returning task
    )
    select t.id, t.lane, t.epoch + 1, t.due, t.delayed, t.key, t.codec, t.payload, t.timeout,
        t.retries, t.errors, t.crashes, t.interruptions, t.snoozes, t.age, t.token
    from locked t where t.id in (select task from leased)
    order by t.due, t.age;
end $$;

-- What is left of the kinds' rooms after what a claim has taken.
create function conveyor.rooms_1(
    p_by int8, p_tokens int8[], p_room int4, p_rooms int4[], p_lanes int8[], p_of int4[]
) returns int4[]
language plpgsql as $$
begin
    if p_room <= all(p_rooms) then
        return p_rooms; -- None is less than what is asked for.
    end if;
    return array(
        select r.room - coalesce(g.n, 0)
        from unnest(p_rooms) with ordinality as r(room, nth)
        left join (
            select l.of, count(*)::int4 as n from conveyor.lease e
            join unnest(p_lanes, p_of) as l(id, of) on l.id = e.lane
            where e.holder = p_by and e.token = any(p_tokens) group by l.of
        ) g on g.of = r.nth
        order by r.nth
    );
end $$;

-- Takes one suspect, if its holder has nothing else.
--
-- A row's lock is what tells a free task: who holds it sees what became of the row, where the
-- absence of a lease may be of long ago.
create function conveyor.claim_alone_1(
    p_by int8, p_token int8, p_ends int8, p_lanes int8[], p_levels int2[], p_of int4[],
    p_rooms int4[]
) returns uuid[]
language plpgsql as $$
#variable_conflict use_column
declare
    v_wanted uuid[];
    v_tried uuid[] := '{}';
    v_leased uuid[];
begin
    while not exists (select from conveyor.lease where holder = p_by) loop
        v_wanted := array(
            select t.id
            from unnest(p_lanes, p_levels, p_of) as l(id, level, of)
            cross join lateral (
                select t.id, t.due, t.age from conveyor.task t
                where t.lane = l.id and t.suspect and not t.parked
                    and not exists (select from conveyor.lease e where e.task = t.id offset 0)
                    and t.id <> all(v_tried)
                order by t.due, t.age limit least(p_rooms[l.of], 1)
            ) t
            order by l.level desc, t.due, t.age limit 1
        );
        exit when v_wanted = '{}';
        with locked as materialized (
            select id, lane, epoch from conveyor.task
            where id = any(v_wanted) and suspect and not parked
            for no key update skip locked
        ),
        leased as (
            insert into conveyor.lease (task, lane, epoch, holder, token, ends, alone)
            select id, lane, epoch + 1, p_by, p_token, p_ends, true from locked
            on conflict do nothing
            returning task
        )
        select array_agg(task) into v_leased from leased;
        v_tried := v_tried || v_wanted;
    end loop;
    return coalesce(v_leased, '{}');
end $$;

-- Records how attempts ended; no task may be there twice.
-- Verdicts: 0 succeed, 1 fail, 2 cancel, 3 retry, 4 snooze, 5 return after a start, 6 return before
-- it, 7 interrupt, 8 park. Replies: 0 applied, 1 already, 2 fenced.
create function conveyor.settle_1(
    p_ids uuid[], p_epochs int8[], p_holders int8[], p_verdicts int2[], p_delays int8[],
    p_words text[], p_panicked boolean[], p_timed_out boolean[]
) returns table (nth int4, reply int2, how int2, lane int8, due int8, moment int8)
language plpgsql
set enable_seqscan = off
set enable_nestloop = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_now int8;
begin
    perform 1 from conveyor.task t where t.id = any(p_ids) order by t.id for no key update;
    v_now := conveyor.now();
    return query
    with said as materialized (
        select s.*, t.lane, t.due, t.key, t.errors, t.crashes, t.interruptions, t.snoozes, t.note,
            case
                when l.task is null and t.id is not null
                    then case when t.epoch = s.epoch and t.holder = s.holder then 1 else 2 end
                when l.task is null
                    then case when e.epoch = s.epoch and e.holder = s.holder then 1 else 2 end
                when l.epoch <> s.epoch or l.holder <> s.holder then 2
                when l.interrupted and s.verdict = 7 then 1
                else 0
            end as reply,
            case
                when s.verdict <= 2 then s.verdict
                when l.cancel and s.verdict <> 7 then 2
            end::int2 as how,
            l.cancel and s.verdict > 2 as on_request
        from unnest(p_ids, p_epochs, p_holders, p_verdicts, p_delays, p_words, p_panicked,
                p_timed_out) with ordinality
            as s(id, epoch, holder, verdict, delay, words, panicked, timed_out, nth)
        left join (select * from conveyor.task where id = any(p_ids)) t on t.id = s.id
        left join (select * from conveyor.lease where task = any(p_ids)) l on l.task = s.id
        left join (select * from conveyor.ended where id = any(p_ids)) e on e.id = s.id
    ),
    judged as materialized (
        select s.*, s.reply = 0 and s.how is not null as is_end,
            s.reply = 0 and s.how is null and s.verdict <> 7 as goes_on
        from said s
    ),
    released as (
        delete from conveyor.lease l where l.task = any(array(
            select id from judged where reply = 0 and verdict <> 7
        ))
    ),
    interrupted as (
        update conveyor.lease l set interrupted = true where l.task = any(array(
            select id from judged where reply = 0 and verdict = 7
        ))
    ),
    gone as (
        delete from conveyor.task t where t.id = any(array(
            select id from judged where is_end
        ))
    ),
    ended as (
        insert into conveyor.ended (id, lane, due, at, how, why, epoch, holder, ended_by, errors,
            crashes, interruptions, snoozes, key, note)
        select id, lane, due, v_now, how,
            case when on_request then 'cancelled on request' when how > 0 then words end,
            epoch, holder, holder, errors + (verdict in (1, 3))::int4, crashes,
            interruptions + (verdict = 5)::int4, snoozes + (verdict = 4)::int4, key,
            case when verdict = 3 then words else note end
        from judged where is_end
    ),
    moved as (
        update conveyor.task t set
            epoch = j.epoch,
            holder = j.holder,
            due = case when j.verdict in (3, 4) then conveyor.later(v_now, j.delay) else t.due end,
            delayed = case when j.verdict in (3, 4) then j.delay > 0 else t.delayed end,
            parked = j.verdict = 8,
            suspect = t.suspect and j.verdict not in (3, 4, 8),
            errors = t.errors + (j.verdict = 3)::int4,
            interruptions = t.interruptions + (j.verdict = 5)::int4,
            snoozes = t.snoozes + (j.verdict = 4)::int4,
            note = case when j.verdict in (3, 8) then j.words else t.note end
        from judged j
        where t.id = j.id and j.goes_on and t.id = any(array(
            select id from judged where goes_on
        ))
    ),
    attempts as (
        insert into conveyor.attempt (task, epoch, holder, at, how, why)
        select id, epoch, holder, v_now,
            case verdict when 3 then 0 when 4 then 1 when 5 then 2 else 3 end,
            case when verdict in (3, 8) then words end
        from judged where goes_on and verdict in (3, 4, 5, 8)
    ),
    forgotten as (
        delete from conveyor.attempt a using judged j
        where a.task = any(array(select id from judged where goes_on and epoch > 16))
            and a.task = j.id and a.epoch < (
            select min(epoch) from (
                select epoch from conveyor.attempt k where k.task = j.id
                order by epoch desc limit 15
            ) kept
        )
    ),
    counts as (
        select lane, w.what, count(*) as n
        from judged j
        cross join lateral (
            select how + 1 as what where is_end
            union all select 5 where goes_on and verdict = 3
            union all select 8 where goes_on and verdict = 4
            union all select 9 where goes_on and verdict = 5
            union all select 6 where panicked
            union all select 7 where timed_out
        ) w
        where reply = 0
        group by lane, w.what
    ),
    counting as (
        insert into conveyor.counting (lane, what, n) select lane, what, n from counts
    )
    select j.nth::int4, j.reply::int2, case when j.is_end then j.how end, j.lane,
        case when not j.goes_on or j.verdict = 8 then null
            when j.verdict in (3, 4) then conveyor.later(v_now, j.delay) else j.due end,
        v_now
    from judged j order by j.nth;
end $$;

-- Extends leases, without waiting for anybody.
-- Replies: 0 held, 1 held and to be cancelled, 2 lost, 3 busy.
create function conveyor.renew_1(p_by int8, p_ids uuid[], p_epochs int8[], p_lease int8)
returns table (nth int4, reply int2)
language plpgsql
set enable_seqscan = off
set enable_nestloop = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_ends int8 := conveyor.later(conveyor.now(), p_lease);
    v_held uuid[];
begin
    update conveyor.lease l set company = false where l.task in (
        select task from conveyor.lease where holder = p_by and company for update skip locked
    );
    with held as (
        update conveyor.lease l set ends = v_ends where l.task = any(p_ids) and l.task in (
            select l.task from unnest(p_ids, p_epochs) as f(id, epoch)
            join conveyor.lease l on l.task = f.id
            where l.task = any(p_ids) and l.epoch = f.epoch and l.holder = p_by and not l.interrupted
            for update of l skip locked
        )
        returning task
    )
    select array_agg(task) into v_held from held;
    return query
    select f.nth::int4, case
            when l.task is null then 2
            when h.id is null then 3
            when l.cancel then 1
            else 0
        end::int2
    from unnest(p_ids, p_epochs) with ordinality as f(id, epoch, nth)
    left join (select * from conveyor.lease where task = any(p_ids)) l
        on l.task = f.id and l.epoch = f.epoch and l.holder = p_by and not l.interrupted
    left join unnest(v_held) h(id) on h.id = f.id
    order by f.nth;
end $$;
