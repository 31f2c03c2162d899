//! What `#[worker]` stands on.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Token, Visibility};

use crate::handler::Callable;
use crate::{function, impl_block};

/// The worker; after a mistake that leaves nothing to expand, the item as it is.
pub(crate) fn worker(attribute: TokenStream, item: &TokenStream) -> TokenStream {
    let expand = |input: ParseStream<'_>| {
        Ok(if is_impl_block(input)? {
            impl_block::worker(attribute, input.parse()?)
        } else {
            function::worker(attribute, input.parse()?)
        })
    };
    expand.parse2(item.clone()).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        quote!(#error #item)
    })
}

fn is_impl_block(input: ParseStream<'_>) -> syn::Result<bool> {
    let ahead = input.fork();
    ahead.call(Attribute::parse_outer)?;
    ahead.parse::<Visibility>()?;
    if ahead.peek(Token![impl]) || (ahead.peek(Token![unsafe]) && ahead.peek2(Token![impl])) {
        return Ok(true);
    }
    if Callable::starts(&ahead) {
        return Ok(false);
    }
    let message = "`#[worker]` goes on a function, or on an `impl` block with a `consume` method; \
                   a payload type has `#[derive(Task)]`";
    Err(ahead.error(message))
}
