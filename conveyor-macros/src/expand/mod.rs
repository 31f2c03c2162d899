//! What the macros write.
//!
//! Everything is named by absolute paths, items of ours through the facade's `__private`; locals
//! bear a name that nobody else uses, and the hygiene of the macro. What is the user's keeps its
//! own spans, so that the compiler's messages point at it.

mod attempt;
mod function;
mod impl_block;
mod kind;
mod task_type;

use conveyor_core::Priority;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::Path;

pub(crate) use function::{expand as function, struct_of};
pub(crate) use impl_block::{constant, expand as impl_block};
pub(crate) use task_type::expand as task_type;

use crate::attribute::{Attribute, Set};

/// The path to what the output names: by default `::conveyor::__private`.
pub(crate) fn private(root: Option<&Set<Path>>) -> TokenStream {
    match root {
        Some(Set { value, .. }) => quote!(#value::__private),
        None => quote!(::conveyor::__private),
    }
}

/// What no user of the macro should be warned of, in code that is not theirs.
pub(crate) fn quiet() -> TokenStream {
    quote! {
        #[allow(
            clippy::all, clippy::pedantic, clippy::nursery,
            dead_code, deprecated, private_interfaces, unreachable_pub, unused_qualifications,
        )]
    }
}

/// What no user should be warned of in a handler, since a worker demands it.
pub(crate) fn demanded() -> TokenStream {
    quote!(#[allow(clippy::needless_pass_by_value, clippy::unused_async)])
}

/// The place of `span`, with the macro's own hygiene.
pub(crate) fn at(span: Span) -> Span {
    span.resolved_at(Span::mixed_site())
}

/// `path` as it is resolved, but at the place of `span`, for messages.
pub(crate) fn placed(path: &TokenStream, span: Span) -> TokenStream {
    let place = |mut token: TokenTree| {
        token.set_span(token.span().located_at(span));
        token
    };
    path.clone().into_iter().map(place).collect()
}

/// A local of ours.
pub(crate) fn local(name: &str) -> Ident {
    format_ident!("__conveyor_{name}", span = Span::mixed_site())
}

/// `Some(…)` or `None`, of the value of a key.
pub(crate) fn option(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// The queue and the priority as they stand in a `TaskDefaults`.
pub(crate) fn queue_and_priority(
    queue: Option<&str>,
    priority: Option<Priority>,
    private: &TokenStream,
) -> TokenStream {
    let queue = option(queue.map(|name| quote!(#private::QueueName::from_static(#name))));
    let priority = option(priority.map(|priority| expand_priority(priority, private)));
    quote!(queue: #queue, priority: #priority,)
}

pub(crate) fn expand_priority(priority: Priority, private: &TokenStream) -> TokenStream {
    let level = priority.get();
    quote!(#private::Priority::new(#level))
}

/// A function from a payload to the text of its dedup key.
pub(crate) fn key_function(
    name: &Ident,
    payload: &TokenStream,
    attribute: &Attribute,
    private: &TokenStream,
) -> Option<TokenStream> {
    let Set { value: key, at: span } = attribute.key_of.as_ref()?;
    let quiet = quiet();
    let argument = local("payload");
    let placed = placed(private, *span);
    let text = quote::quote_spanned! {at(*span)=> #placed::key_text(#argument, #key) };
    Some(quote! {
        #quiet
        fn #name(#argument: &#payload) -> ::std::string::String {
            #[allow(unused_imports)]
            use #private::KeyByDisplay as _;
            #text.text()
        }
    })
}
