//! What `#[worker]` stands on.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Token, Visibility};

use crate::function;
use crate::handler::Callable;
use crate::impl_block::{self, ImplBlock};

enum Target {
    Function(Callable),
    Impl(Box<ImplBlock>),
}

/// The worker; after a mistake that leaves nothing to expand, the item as it is.
pub(crate) fn worker(attribute: TokenStream, item: &TokenStream) -> TokenStream {
    match parse.parse2(item.clone()) {
        Ok(Target::Function(callable)) => function::worker(attribute, callable),
        Ok(Target::Impl(block)) => impl_block::worker(attribute, *block),
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#error #item)
        }
    }
}

fn parse(input: ParseStream<'_>) -> syn::Result<Target> {
    let ahead = input.fork();
    ahead.call(Attribute::parse_outer)?;
    ahead.parse::<Visibility>()?;
    if ahead.peek(Token![impl]) || (ahead.peek(Token![unsafe]) && ahead.peek2(Token![impl])) {
        return input.parse().map(|block| Target::Impl(Box::new(block)));
    }
    if !Callable::starts(&ahead) {
        let message = "`#[worker]` goes on a function, or on an `impl` block with a `consume` \
                       method; a payload type has `#[derive(Task)]`";
        return Err(ahead.error(message));
    }
    input.parse().map(Target::Function)
}
