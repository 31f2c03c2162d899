//! The attribute and derive macros of Conveyor; use them by the facade crate `conveyor`.

use proc_macro::TokenStream;

/// Makes a worker of a function or an `impl` block.
#[proc_macro_attribute]
pub fn worker(_attribute: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// Makes a payload type know the kind of its tasks.
#[proc_macro_derive(Task, attributes(task))]
pub fn task(_item: TokenStream) -> TokenStream {
    TokenStream::new()
}
