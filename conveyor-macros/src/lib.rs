//! The attribute and derive macros of Conveyor; use them by the facade crate `conveyor`.
//!
//! A macro parses (`attribute`, `handler`, `parameters`, `impl_block`), checks by core's own rules
//! (`schedule`, `duration`, `keys`), and expands (`expand`); after a mistake it writes a stub
//! (`fallback`), so that one mistake gives one message. Bodies are not looked at.

mod attribute;
mod derive;
mod duration;
mod errors;
mod expand;
mod fallback;
mod function;
mod handler;
mod impl_block;
mod keys;
mod parameters;
mod schedule;
mod target;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a worker of a function or an `impl` block.
#[proc_macro_attribute]
pub fn worker(attribute: TokenStream, item: TokenStream) -> TokenStream {
    target::worker(attribute.into(), &item.into()).into()
}

/// Makes a payload type know the kind of its tasks.
#[proc_macro_derive(Task, attributes(task))]
pub fn task(item: TokenStream) -> TokenStream {
    derive::task(&parse_macro_input!(item as DeriveInput)).into()
}
