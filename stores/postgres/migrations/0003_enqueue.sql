-- Enqueue from anywhere: a trigger, another language, psql.

-- A task id: a UUID of version 7.
create function conveyor.new_id() returns uuid
language sql volatile as $$
    select encode(
        set_bit(set_bit(overlay(
            uuid_send(gen_random_uuid())
            placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::int8) from 3)
            from 1 for 6
        ), 52, 1), 53, 1), 'hex'
    )::uuid
$$;

-- Enqueues a task in the caller's transaction, and returns its id; null if a live task has the kind
-- and the key. It is seen when the transaction commits, within the engine's poll of a second; with
-- `wake` at once, at the price of a NOTIFY in the transaction.
create function conveyor.enqueue(
    kind text,
    payload jsonb default 'null',
    queue text default 'default',
    key text default null,
    priority int default 0,
    delay interval default '0',
    timeout interval default null,
    retries int default null,
    wake boolean default false
) returns uuid
language plpgsql volatile as $$
declare
    v_id uuid := conveyor.new_id();
    v_lane record;
    v_reply record;
    v_delay int8 := greatest((extract(epoch from delay) * 1000000)::int8, 0);
begin
    if kind is null or kind = '' or octet_length(kind) > 128 or kind ~ '[[:cntrl:]]' then
        raise exception 'the kind % is empty, longer than 128 bytes, or has a control character',
            quote_nullable(left(kind, 64)) using errcode = 'invalid_parameter_value';
    end if;
    if queue is null or queue = '' or octet_length(queue) > 128 or queue ~ '[[:cntrl:]]' then
        raise exception 'the queue % is empty, longer than 128 bytes, or has a control character',
            quote_nullable(left(queue, 64)) using errcode = 'invalid_parameter_value';
    end if;
    if key = '' or octet_length(key) > 1024 or key ~ '[[:cntrl:]]' then
        raise exception 'the key % is empty, longer than 1024 bytes, or has a control character',
            quote_nullable(left(key, 64)) using errcode = 'invalid_parameter_value';
    end if;
    if priority is null or priority not between -32768 and 32767 then
        raise exception 'the priority % is not between -32768 and 32767',
            coalesce(priority::text, 'null') using errcode = 'invalid_parameter_value';
    end if;
    if retries < 0 then
        raise exception 'the retries are %, below 0', retries
            using errcode = 'invalid_parameter_value';
    end if;
    select * into v_lane from conveyor.lane_1(queue, kind, priority::int2);
    select * into v_reply from conveyor.enqueue_1(
        array[v_id], array[v_lane.id], array[v_lane.kind_id], array[key],
        array[(v_delay > 0)::int::int2], array[v_delay], array['json'],
        array[convert_to(coalesce(payload, 'null')::text, 'UTF8')],
        array[abs((extract(epoch from timeout) * 1000000)::int8)], array[retries::int8]
    );
    if v_reply.reply = 2 then
        return null;
    end if;
    if wake then
        perform pg_notify(
            conveyor.channel_1(),
            'c' || E'\n' || '0' || E'\n' || case when v_delay > 0 then 'd ' || v_reply.due
                else 'q ' || priority || ' 1 ' || queue end
        );
    end if;
    return v_id;
end $$;

-- Where wake-ups are told.
create function conveyor.channel_1() returns text
language sql immutable as $$
    select 'conveyor_' || to_hex(conveyor.number('conveyor.channel'))
$$;
