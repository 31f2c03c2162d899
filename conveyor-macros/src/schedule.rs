//! The keys that make a schedule, checked by core's own rules.

use std::time::Duration;

use conveyor_core::schedule::{Cron, Interval, Missed, Overlap, ScheduleError};

use crate::attribute::{Attribute, Set};
use crate::errors::Errors;

/// A schedule that core accepts.
pub(crate) struct Schedule {
    pub(crate) cadence: Cadence,
    pub(crate) missed: Option<Missed>,
    pub(crate) overlap: Option<Overlap>,
}

/// When it fires.
pub(crate) enum Cadence {
    Interval(Duration),
    Cron { expression: String, zone: Option<String> },
}

impl Schedule {
    /// The schedule of an attribute; `None` if it has none, or a wrong one.
    pub(crate) fn check(attribute: &Attribute, errors: &mut Errors) -> Option<Self> {
        lone_keys(attribute, errors);
        let interval = attribute.interval.as_ref().and_then(|period| interval(period, errors));
        let cron = attribute
            .cron
            .as_ref()
            .and_then(|expression| cron(expression, attribute.timezone.as_ref(), errors));
        if let (Some(_), Some(at)) = (attribute.key("interval"), attribute.key("cron")) {
            let message = "a schedule is either an `interval` or a `cron` expression; leave one \
                           of them out";
            errors.at(at, message);
            return None;
        }
        Some(Schedule {
            cadence: interval.or(cron)?,
            missed: attribute.missed.as_ref().map(|missed| missed.value),
            overlap: attribute.overlap.as_ref().map(|overlap| overlap.value),
        })
    }
}

/// Keys that mean nothing without another.
fn lone_keys(attribute: &Attribute, errors: &mut Errors) {
    if let (Some(at), None) = (attribute.key("timezone"), attribute.key("cron")) {
        let message = "`timezone` says where a `cron` expression is read; there is none here";
        errors.at(at, message);
    }
    for name in ["missed", "overlap"] {
        if let (Some(at), None) = (attribute.key(name), attribute.schedule_key()) {
            let message = format!(
                "`{name}` says how a schedule fires; add one: `interval = \"5s\"` or \
                 `cron = \"*/5 * * * *\"`"
            );
            errors.at(at, message);
        }
    }
}

fn interval(period: &Set<Duration>, errors: &mut Errors) -> Option<Cadence> {
    match Interval::new(period.value) {
        Ok(_) => Some(Cadence::Interval(period.value)),
        Err(error) => {
            errors.at(period.at, error);
            None
        }
    }
}

fn cron(
    expression: &Set<String>,
    zone: Option<&Set<String>>,
    errors: &mut Errors,
) -> Option<Cadence> {
    let read = Cron::new(&expression.value);
    if let Err(error) = &read {
        errors.at(expression.at, error);
    }
    if let Some(zone) = zone {
        // Any expression does to ask for the zone, so that both are told if both are wrong.
        if let Err(error @ ScheduleError::Zone { .. }) = Cron::in_zone("* * * * *", &zone.value) {
            errors.at(zone.at, error);
            return None;
        }
    }
    read.ok().map(|_| Cadence::Cron {
        expression: expression.value.clone(),
        zone: zone.map(|zone| zone.value.clone()),
    })
}
