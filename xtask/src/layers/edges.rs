//! Which crate of the workspace may depend on which: arrows point down only.

use crate::workspace::{Crate, Workspace};

/// A crate and the crates of the workspace that it may depend on.
struct Layer {
    name: &'static str,
    /// As a dependency, or at build time.
    on: &'static [&'static str],
    /// In its tests only, besides those of `on`.
    in_tests: &'static [&'static str],
}

/// The stores: all of one layer, and any of them may stand where [`ANY_STORE`] does.
const STORES: &[&str] =
    &["conveyor-sqlite", "conveyor-postgres", "conveyor-redis", "conveyor-nats"];

/// The layers, lowest first. A new crate gets a row here; a store, a place in [`STORES`].
const LAYERS: &[Layer] = &[
    Layer { name: CORE, on: &[], in_tests: &[] },
    Layer { name: MACROS, on: &[CORE], in_tests: &[FACADE] },
    Layer { name: RUNTIME, on: &[CORE], in_tests: &[TESTKIT] },
    Layer { name: TESTKIT, on: &[CORE, RUNTIME], in_tests: &[FACADE] },
    // A store is written against the core alone: it never sees the engine that drives it.
    Layer { name: ANY_STORE, on: &[CORE], in_tests: &[TESTKIT, SERVERS] },
    Layer { name: FACADE, on: &[CORE, RUNTIME, MACROS, ANY_STORE], in_tests: &[TESTKIT] },
    // From here on nothing is published.
    Layer { name: "conveyor-examples", on: &[FACADE, TESTKIT, ANY_STORE], in_tests: &[] },
    Layer {
        name: "conveyor-tests",
        on: &[CORE, RUNTIME, MACROS, TESTKIT, FACADE, ANY_STORE, SERVERS, "conveyor-examples"],
        in_tests: &[],
    },
    // Servers and wires, which know nothing of tasks.
    Layer { name: SERVERS, on: &[], in_tests: &[] },
    // The modules of the macros are built into it, so it needs what they need.
    Layer { name: "conveyor-fuzz-checks", on: &[CORE], in_tests: &[] },
    Layer { name: "xtask", on: &[], in_tests: &[] },
];

const CORE: &str = "conveyor-core";
const MACROS: &str = "conveyor-macros";
const RUNTIME: &str = "conveyor-runtime";
const TESTKIT: &str = "conveyor-testkit";
const FACADE: &str = "conveyor";
const SERVERS: &str = "conveyor-test-servers";
const ANY_STORE: &str = "stores/*";

/// What is wrong where [`check`] finds something.
pub(super) const HEADING: &str =
    "a crate depends on what is not below it (LAYERS in xtask/src/layers/edges.rs)";

/// The edges that should not be there.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    workspace.crates.iter().flat_map(|one| check_crate(workspace, one)).collect()
}

fn check_crate(workspace: &Workspace, one: &Crate) -> Vec<String> {
    let name = &one.name;
    let Some(layer) = layer_of(name) else {
        return vec![format!(
            "`{name}` has no layer: add it to LAYERS in xtask/src/layers/edges.rs, with the \
             crates that it may depend on"
        )];
    };
    let mut faults = Vec::new();
    for dependency in &one.dependencies {
        let Some(below) = workspace.find(&dependency.name) else {
            continue; // not ours
        };
        let in_tests = dependency.kind.as_deref() == Some("dev");
        let allowed =
            allows(layer.on, &below.name) || (in_tests && allows(layer.in_tests, &below.name));
        let place = format!("{}/Cargo.toml", workspace.relative(one.directory()));
        let below_name = &below.name;
        if !in_tests && one.is_published() && !below.is_published() {
            faults.push(format!("{place}: `{name}` is published, `{below_name}` is not"));
        } else if !allowed {
            let how = if in_tests { " even in tests" } else { "" };
            faults.push(format!("{place}: `{name}` may not depend on `{below_name}`{how}"));
        } else if !in_tests
            && name == FACADE
            && STORES.contains(&below_name.as_str())
            && !dependency.optional
        {
            faults.push(format!(
                "{place}: `{below_name}` must be optional: who runs in memory builds no store"
            ));
        }
    }
    faults
}

fn layer_of(name: &str) -> Option<&'static Layer> {
    let key = if STORES.contains(&name) { ANY_STORE } else { name };
    LAYERS.iter().find(|layer| layer.name == key)
}

fn allows(list: &[&str], name: &str) -> bool {
    list.contains(&name) || (list.contains(&ANY_STORE) && STORES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate's name, and the names and kinds of its dependencies.
    type Given<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    fn workspace(crates: &[Given<'_>]) -> Workspace {
        let packages: Vec<_> = crates
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<_> = dependencies
                    .iter()
                    .map(|(name, kind)| serde_json::json!({ "name": name, "kind": kind }))
                    .collect();
                let publish = name.ends_with("tests").then(Vec::<String>::new);
                serde_json::json!({
                    "name": name, "dependencies": dependencies, "publish": publish,
                    "features": {}, "targets": [], "manifest_path": format!("/w/{name}/Cargo.toml"),
                })
            })
            .collect();
        let metadata = serde_json::json!({
            "workspace_root": "/w", "target_directory": "/w/target", "packages": packages,
        });
        Workspace::parse(&metadata.to_string()).unwrap()
    }

    #[test]
    fn arrows_that_point_down_pass() {
        let workspace = workspace(&[
            ("conveyor-core", &[("serde", None)]),
            ("conveyor-runtime", &[("conveyor-core", None), ("conveyor-testkit", Some("dev"))]),
            ("conveyor-testkit", &[("conveyor-core", None), ("conveyor-runtime", None)]),
            ("conveyor-sqlite", &[("conveyor-core", None), ("conveyor-testkit", Some("dev"))]),
            ("conveyor", &[("conveyor-runtime", None)]),
        ]);
        assert_eq!(check(&workspace), Vec::<String>::new());
    }

    #[test]
    fn arrows_that_point_up_are_named() {
        let workspace = workspace(&[
            ("conveyor-core", &[("conveyor-runtime", None)]),
            ("conveyor-runtime", &[]),
            ("conveyor-sqlite", &[("conveyor-runtime", Some("dev"))]),
            ("conveyor-testkit", &[("conveyor-core", Some("build"))]),
        ]);
        assert_eq!(
            check(&workspace),
            [
                "conveyor-core/Cargo.toml: `conveyor-core` may not depend on `conveyor-runtime`",
                "conveyor-sqlite/Cargo.toml: `conveyor-sqlite` may not depend on \
                 `conveyor-runtime` even in tests",
            ]
        );
    }

    #[test]
    fn a_test_dependency_is_no_excuse_for_a_real_one() {
        let workspace = workspace(&[
            ("conveyor-runtime", &[("conveyor-testkit", None)]),
            ("conveyor-testkit", &[]),
        ]);
        assert_eq!(check(&workspace).len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_is_told_where_to_get_one() {
        let faults = check(&workspace(&[("conveyor-new", &[])]));
        assert!(faults[0].contains("xtask/src/layers/edges.rs"), "{faults:?}");
    }

    #[test]
    fn what_is_published_needs_nothing_that_is_not() {
        let workspace =
            workspace(&[("conveyor", &[("conveyor-tests", None)]), ("conveyor-tests", &[])]);
        assert!(check(&workspace)[0].contains("is not"));
    }

    #[test]
    fn the_facade_has_its_stores_optional() {
        let workspace =
            workspace(&[("conveyor", &[("conveyor-nats", None)]), ("conveyor-nats", &[])]);
        assert!(check(&workspace)[0].contains("must be optional"));
    }
}
