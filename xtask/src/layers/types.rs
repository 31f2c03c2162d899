//! Which foreign crates the core's public API may show.
//!
//! A type of another crate in a signature ties our major version to theirs and every store author
//! to their choice, so there are few, each here with its reason. What the API shows is read from
//! rustdoc's JSON, which knows re-exports, derives and types behind aliases. Stable rustdoc writes
//! it when `RUSTC_BOOTSTRAP` is set; few fields of it are read, and without them the check fails.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::command;
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// A crate of others whose types the core's users see.
struct Foreign {
    /// What users write.
    name: &'static str,
    /// Where its types are really defined, if elsewhere as well.
    parts: &'static [&'static str],
}

/// All of them. The standard library needs no row.
const ALLOWED: &[Foreign] = &[
    // A payload is what serde can carry, and every payload already depends on it.
    Foreign { name: "serde", parts: &["serde_core"] },
    // A codec has to be dyn-safe, and serde's traits are not.
    Foreign { name: "erased_serde", parts: &[] },
    // Schedules are civil times in zones, for which the standard library has no types.
    Foreign { name: "jiff", parts: &["jiff_core"] },
];

const STANDARD: &[&str] = &["std", "core", "alloc"];

/// What is wrong where [`check`] finds something.
pub(super) const HEADING: &str = "the core's public API shows a foreign type; keep it inside, \
     or give it a reason in ALLOWED of xtask/src/layers/types.rs";

/// The places where the core's public API shows another foreign crate.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    // A directory of its own: build scripts look at RUSTC_BOOTSTRAP, so that all dependencies
    // would be built anew, each time it comes and goes.
    let target = workspace.target.join("layers");
    let mut rustdoc = command::cargo(&workspace.root, ["rustdoc", "--locked", "--lib"]);
    rustdoc.args(["--package=conveyor-core", "--all-features", "--target-dir"]).arg(&target);
    rustdoc.args(["--", "-Zunstable-options", "--output-format=json", "--cap-lints=allow"]);
    rustdoc.env("RUSTC_BOOTSTRAP", "1");
    command::run(&mut rustdoc)?;
    let path = target.join("doc/conveyor_core.json");
    let broken = |error: &dyn std::fmt::Display| {
        Failure::Broken(format!("cannot read {}: {error}", workspace.relative(&path)))
    };
    let text = std::fs::read_to_string(&path).map_err(|error| broken(&error))?;
    let docs: Value = serde_json::from_str(&text).map_err(|error| broken(&error))?;
    foreign_types(&docs).ok_or_else(|| {
        broken(&format!(
            "format {} is unknown to xtask/src/layers/types.rs",
            docs.get("format_version").unwrap_or(&Value::Null)
        ))
    })
}

/// What the public items of a crate show of crates that are not on the list; `None` if the
/// document is not what rustdoc used to write.
fn foreign_types(docs: &Value) -> Option<Vec<String>> {
    let index = docs.get("index")?.as_object()?;
    let paths = docs.get("paths")?.as_object()?;
    let crates = docs.get("external_crates")?.as_object()?;
    let mut faults = BTreeSet::new();
    let mut resolved = 0;
    for item in index.values() {
        let inner = item.get("inner")?.as_object()?;
        if item.get("crate_id")?.as_u64()? != 0 || is_implied(inner)? {
            continue;
        }
        let mut shown = Vec::new();
        inner.values().for_each(|value| shown_paths(value, &mut shown));
        for id in shown {
            let Some(path) = paths.get(&id.to_string()) else {
                continue;
            };
            let number = path.get("crate_id")?.as_u64()?;
            resolved += 1;
            let Some(origin) = crates.get(&number.to_string()) else {
                continue; // our own
            };
            let origin = origin.get("name")?.as_str()?;
            if is_allowed(origin) {
                continue;
            }
            let segments: Vec<_> =
                path.get("path")?.as_array()?.iter().filter_map(Value::as_str).collect();
            let foreign = segments.join("::");
            let (file, line) = place(item);
            faults.insert((file, line, format!("{} shows `{foreign}`", described(item, inner))));
        }
    }
    // A document in which nothing refers to anything was not understood.
    let shown = |(file, line, what)| format!("{file}:{line}: {what}");
    (resolved > 0 || index.len() <= 1).then(|| faults.into_iter().map(shown).collect())
}

/// Whether an item is an implementation that nobody wrote for this crate: `Send`, or
/// `impl<T> Trait for T` of a dependency.
fn is_implied(inner: &Map<String, Value>) -> Option<bool> {
    let Some(implementation) = inner.get("impl") else {
        return Some(false);
    };
    let synthetic = implementation.get("is_synthetic")?.as_bool()?;
    Some(synthetic || !implementation.get("blanket_impl")?.is_null())
}

/// The ids of all types, traits and re-exports that a value refers to, at any depth.
fn shown_paths(value: &Value, shown: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            let is_path = fields.contains_key("path") || fields.contains_key("source");
            if let (true, Some(id)) = (is_path, fields.get("id").and_then(Value::as_u64)) {
                shown.push(id);
            }
            fields.values().for_each(|field| shown_paths(field, shown));
        }
        Value::Array(values) => values.iter().for_each(|value| shown_paths(value, shown)),
        _ => {}
    }
}

fn is_allowed(origin: &str) -> bool {
    STANDARD.contains(&origin)
        || ALLOWED.iter().any(|one| one.name == origin || one.parts.contains(&origin))
}

/// The file and line of an item; what a macro makes may have none.
fn place(item: &Value) -> (&str, u64) {
    let place = || {
        let span = item.get("span")?;
        Some((span.get("filename")?.as_str()?, span.get("begin")?.get(0)?.as_u64()?))
    };
    place().unwrap_or(("conveyor-core", 0))
}

fn described(item: &Value, inner: &Map<String, Value>) -> String {
    let kind = inner.keys().next().map_or("item", String::as_str).replace('_', " ");
    match (item.get("name").and_then(Value::as_str), kind.as_str()) {
        (Some(name), _) => format!("{kind} `{name}`"),
        (None, "impl") => "an implementation".to_owned(),
        (None, "use") => "a re-export".to_owned(),
        (None, kind) => format!("the {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The documentation of a crate with one function, `f`, that returns a type.
    fn docs(inner: &Value) -> Value {
        json!({
            "format_version": 57,
            "index": { "1": {
                "crate_id": 0, "name": "f", "inner": inner,
                "span": { "filename": "conveyor-core/src/f.rs", "begin": [7, 1], "end": [9, 2] },
            } },
            "paths": {
                "2": { "crate_id": 20, "path": ["hashbrown", "map", "HashMap"] },
                "3": { "crate_id": 21, "path": ["jiff", "timestamp", "Timestamp"] },
                "4": { "crate_id": 22, "path": ["serde_core", "ser", "Serialize"] },
                "5": { "crate_id": 0, "path": ["conveyor_core", "Task"] },
            },
            "external_crates": {
                "20": { "name": "hashbrown" }, "21": { "name": "jiff" }, "22": { "name": "serde_core" },
            },
        })
    }

    fn returns(output: &Value) -> Value {
        json!({ "function": { "sig": { "output": output } } })
    }

    #[test]
    fn a_foreign_type_is_found_with_its_place_at_any_depth() {
        let map = json!({ "resolved_path": { "path": "Map", "id": 2, "args": null } });
        let list = json!({ "resolved_path": { "path": "Task", "id": 5, "args":
            { "angle_bracketed": { "args": [{ "type": map }] } } } });
        for shown in [map, list] {
            let faults = foreign_types(&docs(&returns(&shown))).unwrap();
            assert_eq!(faults.len(), 1);
            assert!(
                faults[0].starts_with(
                    "conveyor-core/src/f.rs:7: function `f` shows `hashbrown::map::HashMap`"
                ),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn a_reexport_and_an_implementation_show_what_they_name() {
        let reexport = json!({ "use": { "source": "hashbrown::HashMap", "name": "Map", "id": 2 } });
        let implementation = json!({ "impl": {
            "is_synthetic": false, "blanket_impl": null, "trait": { "path": "From", "id": 2 } } });
        for inner in [reexport, implementation] {
            assert_eq!(foreign_types(&docs(&inner)).unwrap().len(), 1, "{inner}");
        }
    }

    #[test]
    fn what_is_listed_ours_or_implied_passes() {
        for id in [3, 4, 5] {
            let inner = returns(&json!({ "resolved_path": { "path": "T", "id": id } }));
            assert_eq!(foreign_types(&docs(&inner)), Some(vec![]));
        }
        let mut implied = docs(&json!({ "impl": {
            "is_synthetic": false, "blanket_impl": { "generic": "T" },
            "trait": { "path": "Equivalent", "id": 2 } } }));
        implied["index"]["6"] =
            docs(&returns(&json!({ "path": "Task", "id": 5 })))["index"]["1"].clone();
        assert_eq!(foreign_types(&implied), Some(vec![]));
    }

    #[test]
    fn a_document_that_is_not_understood_does_not_pass() {
        assert_eq!(foreign_types(&json!({})), None);
        assert_eq!(
            foreign_types(&json!({ "index": [], "paths": {}, "external_crates": {} })),
            None
        );
        let mut mute = docs(&returns(&json!({ "new_name_for_a_path": 2 })));
        mute["index"]["6"] = mute["index"]["1"].clone();
        assert_eq!(foreign_types(&mute), None);
    }
}
