//! Register: a worker's kinds are checked and made known, before the start or while all runs.

use conveyor_core::QueueName;
use conveyor_core::worker::{KindDefinition, Role};

use crate::build_error::BuildError;
use crate::engine::Engine;
use crate::registry::Registered;

/// Checks the kinds of one worker or all, and registers them; or none of them.
pub(crate) fn register(engine: &Engine, kinds: Vec<KindDefinition>) -> Result<(), BuildError> {
    let mut schedules = Vec::new();
    let mut registered = Vec::new();
    for mut definition in kinds {
        if definition.role == Role::Producer && definition.schedule.is_none() {
            definition.schedule = engine.defaults.schedule.clone();
        }
        check_kind(engine, &definition)?;
        if let Some(schedule) = &definition.schedule {
            schedules.push((definition.kind.clone(), schedule.clone()));
        }
        registered.push(Registered::new(definition, &engine.defaults));
    }
    if registered.iter().any(|worker| worker.permits.is_some()) {
        engine.signals.count_news();
    }
    let queues: Vec<QueueName> =
        registered.iter().filter_map(|worker| worker.definition.settings.queue.clone()).collect();
    engine.registry.add(registered).map_err(|kind| BuildError::RepeatedKind { kind })?;
    for (name, schedule) in schedules {
        engine.producers.add(name, schedule);
    }
    for queue in &queues {
        engine.serve(queue);
    }
    Ok(())
}

fn check_kind(engine: &Engine, definition: &KindDefinition) -> Result<(), BuildError> {
    if let Some(error) = &definition.invalid {
        return Err(error.clone().into());
    }
    let kind = &definition.kind;
    let zero = |what| Err(BuildError::Zero { what, of: Some(kind.clone()) });
    if definition.settings.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return zero("the timeout");
    }
    if definition.settings.concurrency == Some(0) {
        return zero("the concurrency");
    }
    if definition.role == Role::Producer && definition.schedule.is_none() {
        return Err(BuildError::NoSchedule { kind: kind.clone() });
    }
    match definition.requires.iter().find(|required| !engine.states.satisfies(required)) {
        None => Ok(()),
        Some(missing) => {
            Err(BuildError::MissingState { kind: kind.clone(), type_name: missing.type_name })
        }
    }
}
