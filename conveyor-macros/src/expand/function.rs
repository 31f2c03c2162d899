//! A function's worker: a unit struct of its name.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token};

use super::attempt::{Attempt, Returns};
use super::kind::Kind;
use super::{demanded, local, private, quiet};
use crate::function::Function;
use crate::handler::Callable;
use crate::impl_block::Receiver;

/// All that a function becomes.
pub(crate) fn expand(function: &Function) -> TokenStream {
    let Function { attribute, callable, parameters, schedule } = function;
    let private = &private(attribute.root.as_ref());
    let name = &callable.signature.ident;
    let kind = Kind {
        name: match &attribute.kind {
            Some(kind) => (kind.value.clone(), Some(kind.at)),
            None => (name.unraw().to_string(), None),
        },
        parameters,
        attributes: &[attribute],
        schedule: schedule.as_ref(),
        key_function: local("key"),
        private,
    };
    let cfgs: Vec<_> = callable.attributes_named("cfg").collect();
    let quiet = quiet();
    let unit_struct = struct_of(callable);
    let kind_check = kind.expand_check().map(|check| quote!(#(#cfgs)* #check));
    let constructor = expand_constructor(&kind, callable);
    let (handler, handler_function) = expand_handler(callable, function);
    let attempt_function = local("attempt");
    let attempt = Attempt {
        name: attempt_function.clone(),
        handler: &handler,
        signature: &callable.signature,
        parameters,
        receiver: Receiver::None,
        returns: Returns::Outcome { retry_if: kind.retry_if() },
        private,
    }
    .expand();
    let key = kind.expand_key();
    let definition = local("definition");
    let define = kind.expand_definition(&quote!(Self::KIND), &quote!(Self::#attempt_function));
    quote! {
        #unit_struct

        #(#cfgs)*
        impl #name {
            #constructor
            #handler_function
            #attempt
            #key
        }

        #(#cfgs)*
        #[automatically_derived]
        #quiet
        impl #private::Worker for #name {
            fn define(self: ::std::sync::Arc<Self>, #definition: &mut #private::Definition) {
                #define
            }
        }

        #kind_check
    }
}

/// The unit struct, with the attributes that are for it.
pub(crate) fn struct_of(callable: &Callable) -> TokenStream {
    let (name, visibility) = (&callable.signature.ident, &callable.visibility);
    let attributes = callable.attributes.iter().filter(|attribute| is_for_item(attribute));
    quote! {
        #(#attributes)*
        #[allow(non_camel_case_types)]
        #[derive(
            ::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug,
        )]
        #visibility struct #name;
    }
}

/// Whether an attribute means the worker as well as the function.
fn is_for_item(attribute: &Attribute) -> bool {
    let is_for_item = |path: &syn::Path| {
        ["doc", "cfg", "deprecated", "allow", "warn", "deny"].iter().any(|name| path.is_ident(name))
    };
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|metas| metas.iter().skip(1).all(|meta| is_for_item(meta.path()))),
        meta => is_for_item(meta.path()),
    }
}

/// `KIND` and `task`.
fn expand_constructor(kind: &Kind<'_>, callable: &Callable) -> TokenStream {
    let private = kind.private;
    let visibility = &callable.visibility;
    let quiet = quiet();
    let name = kind.expand_name();
    let payload = kind.payload_type();
    let (of_type, of_worker) = kind.expand_defaults();
    let (parameter, value) = match kind.payload() {
        // Not `payload`, which may be the name of a worker, and then no name for a parameter.
        Some(ty) => (quote!(payload_: #ty), quote!(payload_)),
        None => (quote!(), quote!(())),
    };
    quote! {
        /// The kind of this worker's tasks.
        #quiet
        #visibility const KIND: #private::Kind = #name;

        /// A task for this worker.
        #[must_use]
        #quiet
        #visibility fn task(self, #parameter) -> #private::Task<#payload> {
            #[allow(unused_imports)]
            use #private::NotAPayload as _;
            #private::PayloadOf::<#payload>::task(Self::KIND, #value, #of_type, #of_worker)
        }
    }
}

/// The function itself, under the name that it has in `Self`.
///
/// It keeps its own name, so that attributes such as `#[tracing::instrument]` see that; a name
/// within an `impl` block is not in the scope of its body, where it still means the worker.
fn expand_handler(callable: &Callable, function: &Function) -> (Ident, TokenStream) {
    let Callable { attributes, visibility, signature, body } = callable;
    let name = &signature.ident;
    let attributes = attributes.iter().filter(|a| !a.path().is_ident("doc"));
    let lints = demanded();
    let doc = "The function itself, without a queue: for unit tests.";
    // The worker has these names already.
    if name == "call" || name == "task" {
        let call = Ident::new("call", name.span());
        let mut signature = signature.clone();
        signature.ident = call.clone();
        return (call, quote!(#[doc = #doc] #(#attributes)* #lints #visibility #signature #body));
    }
    let quiet = quiet();
    let (asyncness, output) = (&signature.asyncness, &signature.output);
    let await_it = asyncness.as_ref().map(|_| quote!(.await));
    let types = function.parameters.iter().map(|parameter| &parameter.ty);
    let names: Vec<_> = function
        .parameters
        .iter()
        .enumerate()
        .map(|(position, parameter)| match &parameter.name {
            Some(name) => name.clone(),
            None => format_ident!("argument_{position}", span = Span::mixed_site()),
        })
        .collect();
    let wrapped = quote! {
        #(#attributes)*
        #lints
        #signature #body

        #[doc = #doc]
        #quiet
        #visibility #asyncness fn call(#(#names: #types),*) #output {
            Self::#name(#(#names),*) #await_it
        }
    };
    (name.clone(), wrapped)
}
