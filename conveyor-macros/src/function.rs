//! `#[worker]` on a function: checked, then expanded.

use proc_macro2::TokenStream;
use quote::quote;
use syn::FnArg;

use crate::attribute::Attribute;
use crate::errors::Errors;
use crate::expand;
use crate::fallback;
use crate::handler::{Callable, Runs, check_fit, check_signature};
use crate::keys::Place;
use crate::parameters::{self, Parameter};
use crate::schedule::Schedule;

/// A function that can be a worker.
pub(crate) struct Function {
    pub(crate) attribute: Attribute,
    pub(crate) callable: Callable,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) schedule: Option<Schedule>,
}

/// The worker of a function; or its mistakes, and something in its place.
pub(crate) fn worker(attribute: TokenStream, callable: Callable) -> TokenStream {
    let mut errors = Errors::default();
    let attribute = Attribute::parse(attribute, Place::Function, &mut errors);
    check_signature(&callable.signature, Runs::said_by(&[&attribute]), &mut errors);
    for input in &callable.signature.inputs {
        if let FnArg::Receiver(receiver) = input {
            let message = "a function has no `self`; for a worker with fields of its own, put \
                           `#[worker]` on an `impl` block with a `consume` method";
            errors.on(receiver, message);
        }
    }
    let parameters = parameters::classify(&callable.signature, &mut errors);
    check_fit(&attribute, &callable.signature, &parameters, &mut errors);
    let schedule = Schedule::check(&attribute, &mut errors);
    if let (Some((key, at)), Some(_)) = (attribute.schedule_key(), parameters::payload(&parameters))
    {
        let message = format!(
            "`{key}` makes tasks without a payload, and `{}` takes one; leave the payload out, or \
             put `#[worker]` on an `impl` block whose `produce` method makes the payloads",
            callable.signature.ident
        );
        errors.at(at, message);
    }
    let function = Function { attribute, callable, parameters, schedule };
    if errors.is_empty() {
        expand::function(&function)
    } else {
        let stub = fallback::function(&function);
        quote!(#errors #stub)
    }
}
