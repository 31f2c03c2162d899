//! What each parameter of a handler is: the context, a state, or the payload.

use syn::{FnArg, GenericArgument, Ident, Pat, PathArguments, Signature, Type};

use crate::errors::Errors;

/// A parameter of a handler.
pub(crate) struct Parameter {
    pub(crate) source: Source,
    /// The name to call it by in a signature of ours, if its pattern is no more than a name.
    pub(crate) name: Option<Ident>,
    /// Its type, as it was written.
    pub(crate) ty: Type,
}

/// Where a parameter's value comes from.
pub(crate) enum Source {
    /// The attempt's context.
    Context,
    /// The state of that type.
    State(Box<Type>),
    /// The payload, of that type.
    Payload { ty: Box<Type>, borrowed: bool },
}

/// The parameters after `self`, each with its source.
pub(crate) fn classify(signature: &Signature, errors: &mut Errors) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for input in &signature.inputs {
        let FnArg::Typed(input) = input else { continue };
        if let Some(cfg) = input.attrs.iter().find(|a| a.path().is_ident("cfg")) {
            let message = "a parameter of a worker cannot depend on a `cfg`; put it on the \
                           function, and write one function for each";
            errors.on(cfg, message);
        }
        let Some(source) = source(&input.ty, errors) else {
            continue;
        };
        if let (Source::Payload { .. }, Some(first)) = (&source, payload(&parameters)) {
            let message = format!(
                "a task has one payload, and that is `{}` already; put both into one type (a \
                 tuple will do), or take what all tasks share as `State<…>`",
                tokens(first)
            );
            errors.on(&input.ty, message);
        }
        let name = match &*input.pat {
            Pat::Ident(pat) if pat.subpat.is_none() => Some(pat.ident.clone()),
            _ => None,
        };
        parameters.push(Parameter { source, name, ty: (*input.ty).clone() });
    }
    parameters
}

/// The payload's type.
pub(crate) fn payload(parameters: &[Parameter]) -> Option<&Type> {
    parameters.iter().find_map(|parameter| match &parameter.source {
        Source::Payload { ty, .. } => Some(&**ty),
        _ => None,
    })
}

/// The types of all states.
pub(crate) fn states(parameters: &[Parameter]) -> impl Iterator<Item = &Type> {
    parameters.iter().filter_map(|parameter| match &parameter.source {
        Source::State(ty) => Some(&**ty),
        _ => None,
    })
}

fn source(ty: &Type, errors: &mut Errors) -> Option<Source> {
    let refused = match ty {
        Type::ImplTrait(_) => {
            "a worker's parameters need types that are known by name, not `impl Trait`: a payload \
             type of its own, or a state such as `State<dyn Trait>`"
        }
        Type::Reference(reference) => match &*reference.elem {
            _ if reference.mutability.is_some() => {
                "a payload cannot be borrowed mutably, since the original is kept for a retry; \
                 take it by value or by `&`"
            }
            _ if reference.lifetime.as_ref().is_some_and(|life| life.ident == "static") => {
                "a borrowed payload lives as long as its attempt, not for ever; write `&` without a \
                 lifetime"
            }
            elem if is_named(elem, "Context") || is_named(elem, "State") => {
                "a `Context` or `State<…>` is taken by value; cloning one is cheap"
            }
            Type::Path(path) if path.path.is_ident("str") => {
                "a payload is kept whole, and `str` has no size of its own; take `String` or \
                 `&String`"
            }
            Type::Slice(_) | Type::TraitObject(_) => {
                "a payload is kept whole, and this type has no size of its own; take an owned one \
                 such as `Vec<…>`, or borrow that"
            }
            Type::ImplTrait(_) => return source(&reference.elem, errors),
            elem => {
                return Some(Source::Payload { ty: Box::new(elem.clone()), borrowed: true });
            }
        },
        _ if is_named(ty, "Context") => return Some(Source::Context),
        _ if is_named(ty, "State") => match state(ty) {
            Some(state) => return Some(Source::State(Box::new(state))),
            None => "a state says its type: `State<Smtp>` or `State<dyn Mailer>`",
        },
        Type::Group(group) => return source(&group.elem, errors),
        Type::Paren(paren) => return source(&paren.elem, errors),
        _ => {
            return Some(Source::Payload { ty: Box::new(ty.clone()), borrowed: false });
        }
    };
    errors.on(ty, refused);
    None
}

fn is_named(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Path(path) if path.qself.is_none() => {
            path.path.segments.last().is_some_and(|last| last.ident == name)
        }
        _ => false,
    }
}

/// Whether a parameter is a `State` without its type, which is an error of the compiler too.
pub(crate) fn lack_a_type(signature: &Signature) -> bool {
    signature.inputs.iter().any(|input| match input {
        FnArg::Typed(input) => is_named(&input.ty, "State") && state(&input.ty).is_none(),
        FnArg::Receiver(_) => false,
    })
}

/// The `T` of a `State<T>`.
fn state(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
        return None;
    };
    match (arguments.args.first(), arguments.args.len()) {
        (Some(GenericArgument::Type(state)), 1) => Some(state.clone()),
        _ => None,
    }
}

/// A type as a message shows it.
fn tokens(ty: &Type) -> String {
    let text = quote::quote!(#ty).to_string();
    text.replace(" < ", "<").replace(" >", ">").replace(" :: ", "::").replace("& ", "&")
}
