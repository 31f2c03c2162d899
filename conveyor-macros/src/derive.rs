//! `#[derive(Task)]`: parsed and checked, then expanded.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Ident, Meta};

use crate::attribute::Attribute;
use crate::errors::Errors;
use crate::expand;
use crate::fallback;
use crate::keys::Place;

/// A payload type that knows its kind.
pub(crate) struct TaskType {
    pub(crate) attribute: Attribute,
    pub(crate) name: Ident,
    pub(crate) kind: String,
}

/// The implementation of `TaskType`; or the mistakes, and something in its place.
pub(crate) fn task(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let name = &input.ident;
    if !input.generics.params.is_empty() {
        let message = format!(
            "tasks of one kind have one payload type, so `{name}` cannot be generic; wrap each \
             type in a struct of its own"
        );
        errors.on(&input.generics.params, message);
        return quote!(#errors);
    }
    let mut tokens = TokenStream::new();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("task")) {
        match &attribute.meta {
            Meta::List(list) if tokens.is_empty() => tokens = list.tokens.clone(),
            Meta::List(_) => {
                errors.on(attribute, "`#[task]` is written twice; put all keys into one");
            }
            meta => {
                errors.on(meta, "write its keys in parentheses: `#[task(kind = \"email.send\")]`");
            }
        }
    }
    let attribute = Attribute::parse(tokens, Place::Task, &mut errors);
    if attribute.key("kind").is_none() && errors.is_empty() {
        let message = format!(
            "`{name}` needs a kind, which every service that shares it knows: \
             `#[task(kind = \"email.send\")]`"
        );
        errors.at(name.span(), message);
    }
    let kind = attribute.kind.as_ref().map_or_else(|| "invalid".to_owned(), |k| k.value.clone());
    let task_type = TaskType { attribute, name: name.clone(), kind };
    if errors.is_empty() {
        expand::task_type(&task_type)
    } else {
        let stub = fallback::task_type(&task_type);
        quote!(#errors #stub)
    }
}
