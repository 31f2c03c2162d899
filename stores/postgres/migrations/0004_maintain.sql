-- What processes do beside the tasks' life: look for the dead, cancel, prune.

-- Takes back what dead processes held; the last row has no task and says when to ask again.
-- 0 interrupted, 1 suspect, 2 charged, 3 crashed, 4 cancelled.
create function conveyor.rescue_1(p_by int8, p_lease int8, p_budget int8, p_limit int8)
returns table (id uuid, lane int8, holder int8, rescued_as int2, next int8)
language plpgsql as $$
#variable_conflict use_column
declare
    v_now int8;
    v_setting conveyor.setting;
    v_dead uuid[];
    v_one record;
    v_as int2;
    v_in_company int8[] := '{}';
    v_count int8 := 0;
    v_next int8;
begin
    -- One at a time, so that each sees what the others found.
    select * into v_setting from conveyor.setting for update;
    v_now := conveyor.now();
    -- Silence, or a clock that jumped: the holders have not had their chance to renew.
    if v_setting.last_rescue is null or v_now < v_setting.last_rescue
        or v_now - v_setting.last_rescue > p_lease - p_lease / 3
    then
        v_setting.no_rescue_before := conveyor.later(v_now, p_lease);
    end if;
    if v_now < v_setting.last_rescue then
        -- What was set before the clock went back would hold for as long as it went.
        update conveyor.lease set ends = conveyor.later(v_now, p_lease)
        where task in (
            select task from conveyor.lease where ends > conveyor.later(v_now, p_lease)
            for update skip locked
        );
    end if;
    update conveyor.setting
    set last_rescue = v_now, no_rescue_before = v_setting.no_rescue_before;

    if v_setting.no_rescue_before <= v_now then
        v_dead := array(
            select t.id from conveyor.task t
            where t.id = any(array(
                select l.task from conveyor.lease l
                where (l.holder <> p_by or l.interrupted) and l.ends <= v_now
                order by l.ends limit p_limit
            ))
            order by t.id for no key update skip locked
        );
        for v_one in
            select l.*, t.due, t.key, t.errors, t.crashes, t.interruptions, t.snoozes, t.note
            from conveyor.lease l join conveyor.task t on t.id = l.task
            where l.task = any(v_dead) and (l.holder <> p_by or l.interrupted) and l.ends <= v_now
            order by l.ends, t.due, t.age
            for update of l
        loop
            v_count := v_count + 1;
            if v_one.holder <> all(v_in_company) and (
                v_one.company or exists (
                    select from conveyor.lease l
                    where l.holder = v_one.holder and l.task <> v_one.task
                )
            ) then
                v_in_company := v_in_company || v_one.holder;
                update conveyor.lease l set company = true where l.task in (
                    select task from conveyor.lease
                    where holder = v_one.holder and task <> v_one.task and not company
                    for update skip locked
                );
            end if;
            v_as := case
                when v_one.cancel then 4
                when v_one.interrupted then 0
                when v_one.holder = any(v_in_company) then 1
                when v_one.crashes + 1 >= p_budget then 3
                else 2
            end;
            delete from conveyor.lease where task = v_one.task;
            if v_as >= 3 then
                delete from conveyor.task t where t.id = v_one.task;
                insert into conveyor.ended (id, lane, due, at, how, why, epoch, holder, ended_by,
                    errors, crashes, interruptions, snoozes, key, note)
                values (v_one.task, v_one.lane, v_one.due, v_now,
                    case v_as when 3 then 3 else 2 end,
                    case v_as when 4 then 'cancelled on request' end, v_one.epoch, null,
                    v_one.holder, v_one.errors, v_one.crashes + (v_as = 3)::int4,
                    v_one.interruptions, v_one.snoozes, v_one.key, v_one.note);
            else
                -- From now on the old fence is nobody's.
                update conveyor.task t set epoch = v_one.epoch, holder = null,
                    crashes = t.crashes + (v_as = 2)::int4,
                    interruptions = t.interruptions + (v_as < 2)::int4,
                    suspect = t.suspect or v_as > 0
                where t.id = v_one.task;
                insert into conveyor.attempt (task, epoch, holder, at, how)
                values (v_one.task, v_one.epoch, v_one.holder, v_now, 4 + v_as);
                if v_one.epoch > 16 then
                    delete from conveyor.attempt a where a.task = v_one.task and a.epoch < (
                        select min(epoch) from (
                            select epoch from conveyor.attempt where task = v_one.task
                            order by epoch desc limit 16
                        ) kept
                    );
                end if;
            end if;
            if v_as <> 2 then
                insert into conveyor.counting (lane, what, n)
                values (v_one.lane, case v_as when 3 then 4 when 4 then 3 else 9 end, 1);
            end if;
            return query
            select v_one.task, v_one.lane, v_one.holder, v_as, null::int8;
        end loop;
    end if;

    select min(greatest(l.ends, v_setting.no_rescue_before)) into v_next
    from conveyor.lease l where l.holder <> p_by or l.interrupted;
    if v_next <= v_now then
        -- What others have locked is not to be asked for again and again.
        v_next := case when v_count > 0 or p_limit <= 0 then v_now
            else conveyor.later(v_now, p_lease / 10) end;
    end if;
    return query select null::uuid, null::int8, null::int8, null::int2, v_next;
end $$;

-- Cancels tasks, none of which may be there twice.
-- 0 cancelled, 1 requested, 2 ended before, 3 unknown, 4 locked by another transaction.
create function conveyor.cancel_1(p_ids uuid[]) returns table (nth int4, reply int2)
language plpgsql
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now int8 := conveyor.now();
    v_locked uuid[];
begin
    v_locked := array(
        select t.id from conveyor.task t where t.id = any(p_ids)
        order by t.id for no key update skip locked
    );
    return query
    with asked as materialized (
        select a.id, a.nth, t.id is not null as is_live, l.task is not null as is_held,
            t.id = any(v_locked) as is_mine, e.id is not null as has_ended,
            t.lane, t.due, t.epoch, t.holder, t.errors, t.crashes, t.interruptions, t.snoozes,
            t.key, t.note
        from unnest(p_ids) with ordinality as a(id, nth)
        left join conveyor.task t on t.id = a.id
        left join conveyor.lease l on l.task = a.id
        left join conveyor.ended e on e.id = a.id
    ),
    requested as (
        update conveyor.lease l set cancel = true from asked a
        where l.task = a.id and a.is_mine and a.is_held
    ),
    gone as (
        delete from conveyor.task t using asked a
        where t.id = a.id and a.is_mine and not a.is_held
    ),
    ended as (
        insert into conveyor.ended (id, lane, due, at, how, why, epoch, holder, ended_by, errors,
            crashes, interruptions, snoozes, key, note)
        select id, lane, due, v_now, 2, 'cancelled on request', epoch, holder, null, errors,
            crashes, interruptions, snoozes, key, note
        from asked where is_mine and not is_held
    ),
    counting as (
        insert into conveyor.counting (lane, what, n)
        select lane, 3, count(*) from asked where is_mine and not is_held group by lane
    )
    select nth::int4, case
        when is_live and not is_mine then 4
        when is_mine and is_held then 1
        when is_mine then 0
        when has_ended then 2
        else 3
    end::int2
    from asked order by nth;
end $$;

-- Tells when the next task is due, with no lane, and in which lanes some became due since `since`.
create function conveyor.promote_1(p_since int8)
returns table (lane int8, next int8, moment int8)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_now int8 := conveyor.now();
begin
    return query
    select null::int8, min(t.due), v_now
    from (select distinct id from conveyor.lane) l
    cross join lateral (
        select due from conveyor.task t
        where t.lane = l.id and not t.parked and not t.suspect and t.due > v_now
        order by t.due, t.age limit 1
    ) t;
    return query
    select l.id, null::int8, v_now
    from (select distinct id from conveyor.lane) l
    where exists (
        select from conveyor.task t
        where t.lane = l.id and not t.parked and not t.suspect
            and t.due > p_since and t.due <= v_now
    );
end $$;

-- Forgets ends: those beyond their age, by how they ended, and those beyond the newest `kept`.
create function conveyor.prune_1(p_ages int8[], p_kept int8, p_limit int8) returns int8
language plpgsql
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now int8 := conveyor.now();
    v_gone uuid[];
    v_how int4;
    v_count int8 := 0;
    v_last record;
begin
    for v_how in 0..3 loop
        exit when v_count >= p_limit;
        with gone as (
            delete from conveyor.ended where id in (
                select id from conveyor.ended
                where how = v_how and at < case
                    when p_ages[v_how + 1] > v_now then -9223372036854775808
                    else v_now - p_ages[v_how + 1] end
                order by at limit p_limit - v_count for update skip locked
            )
            returning id
        )
        select array_agg(id) into v_gone from gone;
        if v_gone is not null then
            delete from conveyor.attempt where task = any(v_gone);
            v_count := v_count + cardinality(v_gone);
        end if;
    end loop;
    if p_kept < 9223372036854775807 and v_count < p_limit then
        select at, id into v_last from conveyor.ended
        order by at desc, id desc offset p_kept limit 1;
        if found then
            with gone as (
                delete from conveyor.ended where id in (
                    select id from conveyor.ended where (at, id) <= (v_last.at, v_last.id)
                    order by at, id limit p_limit - v_count for update skip locked
                )
                returning id
            )
            select array_agg(id) into v_gone from gone;
            if v_gone is not null then
                delete from conveyor.attempt where task = any(v_gone);
                v_count := v_count + cardinality(v_gone);
            end if;
        end if;
    end if;
    return v_count;
end $$;

-- Takes up what was counted since; one at a time does it, and nobody waits.
create function conveyor.fold_1(p_limit int8) returns int8
language plpgsql as $$
#variable_conflict use_column
declare
    v_count int8;
begin
    if not pg_try_advisory_xact_lock(conveyor.number('conveyor.counted')) then
        return 0;
    end if;
    with gone as (
        delete from conveyor.counting where ctid in (
            select ctid from conveyor.counting limit p_limit for update skip locked
        )
        returning lane, what, n
    ),
    counted as (
        insert into conveyor.counted as c (lane, what, n)
        select lane, what, sum(n)::int8 from gone group by lane, what
        on conflict (lane, what) do update set n = c.n + excluded.n
    )
    select count(*) into v_count from gone;
    return v_count;
end $$;
