//! A handler: the function or method that runs a kind's tasks, parsed no deeper than its
//! signature, and checked.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, FnArg, LitStr, Pat, PatType, Safety, Signature, Token, Visibility};

use crate::errors::Errors;
use crate::parameters::Parameter;

/// A function or a method. The body stays as it is, whatever it holds.
pub(crate) struct Callable {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Group,
}

impl Callable {
    /// Whether a function follows: `fn`, or what may stand before it.
    pub(crate) fn starts(input: ParseStream<'_>) -> bool {
        let ahead = input.fork();
        loop {
            if ahead.peek(Token![fn]) {
                return true;
            }
            let qualifier = ahead.peek(Token![const])
                || ahead.peek(Token![async])
                || ahead.peek(Token![unsafe])
                || ahead.peek(Token![extern])
                || ahead.peek(LitStr);
            if !qualifier || ahead.parse::<TokenTree>().is_err() {
                return false;
            }
        }
    }

    /// Parses what follows the attributes.
    pub(crate) fn parse(
        attributes: Vec<Attribute>,
        visibility: Visibility,
        input: ParseStream<'_>,
    ) -> syn::Result<Self> {
        let signature: Signature = input.parse()?;
        match input.parse::<TokenTree>()? {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                Ok(Callable { attributes, visibility, signature, body })
            }
            other => Err(syn::Error::new(other.span(), "a worker needs a body: `{ … }`")),
        }
    }

    /// The attributes of that name.
    pub(crate) fn attributes_named<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Attribute> {
        self.attributes.iter().filter(move |attribute| attribute.path().is_ident(name))
    }
}

impl Parse for Callable {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        Callable::parse(attributes, visibility, input)
    }
}

/// How a handler is to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// As a future.
    Async,
    /// On a thread where it may block.
    Blocking,
    /// As a future, since it is the producer.
    Producer,
}

impl Runs {
    /// As the attributes of a kind say.
    pub(crate) fn said_by(attributes: &[&crate::attribute::Attribute]) -> Self {
        if attributes.iter().any(|attribute| attribute.key("blocking").is_some()) {
            Runs::Blocking
        } else {
            Runs::Async
        }
    }
}

/// Checks all of a signature but its parameters' types.
pub(crate) fn check_signature(signature: &Signature, runs: Runs, errors: &mut Errors) {
    let name = &signature.ident;
    match (&signature.asyncness, runs) {
        (None, Runs::Async) => {
            let message = format!(
                "`{name}` is not async; write `async fn`, or add `blocking` to its attribute to \
                 run it where it may block a thread"
            );
            errors.on(signature.fn_token, message);
        }
        (None, Runs::Producer) => {
            let message = "`produce` is not async; write `async fn`, and have what blocks a thread \
                           done by `ctx.spawn_blocking(…)`";
            errors.on(signature.fn_token, message);
        }
        (Some(keyword), Runs::Blocking) => {
            let message = format!(
                "`{name}` is `blocking`, so it runs on a thread of its own and cannot be async; \
                 leave out one of the two"
            );
            errors.on(keyword, message);
        }
        _ => {}
    }
    if let Some(keyword) = &signature.constness {
        errors.on(keyword, "a worker cannot be a `const fn`; leave `const` out");
    }
    if let Safety::Unsafe(keyword) = &signature.safety {
        let message = "a worker is called by the engine, which can keep no promises for it; leave \
                       `unsafe` out, and put an `unsafe` block inside";
        errors.on(keyword, message);
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "a worker is called from Rust; leave `extern` out");
    }
    if let Some(variadic) = &signature.variadic {
        errors.on(variadic, "a worker cannot take a variable number of arguments");
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        let message = format!(
            "a worker's kind has one payload type, so `{name}` cannot be generic; write a worker \
             for each type, or share what they have in common as a generic function"
        );
        errors.on(&generics.params, message);
    } else if let Some(clause) = &generics.where_clause {
        errors.on(clause, "a worker is not generic, so it needs no `where` clause");
    }
    if let Some(pattern) = shadowing(signature) {
        let message = format!(
            "`{name}` is the name of this worker, a unit struct, and would be matched against it \
             here; give the parameter another name"
        );
        errors.on(pattern, message);
    }
}

/// Whether a parameter is named like the function.
pub(crate) fn shadows(signature: &Signature) -> bool {
    shadowing(signature).is_some()
}

fn shadowing(signature: &Signature) -> Option<&Pat> {
    signature.inputs.iter().find_map(|input| match input {
        FnArg::Typed(PatType { pat, .. }) if mentions(quote!(#pat), &signature.ident) => {
            Some(&**pat)
        }
        _ => None,
    })
}

fn mentions(tokens: TokenStream, name: &syn::Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

/// What a kind's attribute asks of the handler that it stands on.
pub(crate) fn check_fit(
    attribute: &crate::attribute::Attribute,
    signature: &Signature,
    parameters: &[Parameter],
    errors: &mut Errors,
) {
    if let (Some(at), None) = (attribute.key("key"), crate::parameters::payload(parameters)) {
        let message = format!(
            "`key` makes a dedup key of the payload, and `{}` has none; set one where the task is \
             made: `.task().key(\"…\")`",
            signature.ident
        );
        errors.at(at, message);
    }
    if let (Some(at), syn::ReturnType::Default) = (attribute.key("retry_if"), &signature.output) {
        let message = format!(
            "`retry_if` judges the handler's error, and `{}` returns none; let it return a \
             `Result`",
            signature.ident
        );
        errors.at(at, message);
    }
}
