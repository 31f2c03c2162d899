//! The examples on smol, as `build.rs` has written them: `examples_on_smol NAME [ARGUMENT]`.

macro_rules! examples {
    ($($name:ident)*) => {
        $(
            #[allow(missing_docs, reason = "they are private to this file")]
            mod $name {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
            }
        )*

        fn main() -> conveyor::Result<()> {
            match std::env::args().nth(1).as_deref() {
                $(Some(stringify!($name)) => $name::main(),)*
                other => Err(format!("no example {other:?}").into()),
            }
        }
    };
}

examples!(dedup explain priorities quickstart retries_and_panics schedules shutdown);
