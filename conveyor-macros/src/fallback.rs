//! What stands in the place of a worker that has a mistake, so that code which uses it gives no
//! messages of its own.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::Safety;

use crate::attribute::Attribute;
use crate::derive::TaskType;
use crate::expand;
use crate::function::Function;
use crate::impl_block::{Consumer, WorkerImpl};
use crate::parameters::{self, Parameter};

/// A struct with all that a worker has, its body as it was written.
pub(crate) fn function(function: &Function) -> TokenStream {
    let Function { attribute, callable, parameters, .. } = function;
    let private = expand::private(attribute.root.as_ref());
    let quiet = expand::quiet();
    let (name, visibility) = (&callable.signature.ident, &callable.visibility);
    let cfgs: Vec<_> = callable.attributes_named("cfg").collect();
    let unit_struct = expand::struct_of(callable);
    let (parameter, payload) = task_parameter(parameters);
    let call = expand_call(function);
    let define = expand_worker(&quote!(#name), &private);
    quote! {
        #unit_struct

        #(#cfgs)*
        #quiet
        impl #name {
            #visibility const KIND: #private::Kind = #private::Kind::from_static("invalid");

            #visibility fn task(self, #parameter) -> #private::Task<#payload> {
                ::core::unreachable!()
            }

            #call
        }

        #(#cfgs)*
        #define
    }
}

/// The function as `call`; nothing if it would be refused there too.
fn expand_call(function: &Function) -> Option<TokenStream> {
    let callable = &function.callable;
    let mut signature = callable.signature.clone();
    let keeps_clear = !crate::handler::shadows(&signature) && !parameters::lack_a_type(&signature);
    signature.ident = Ident::new("call", Span::mixed_site());
    signature.constness = None;
    signature.abi = None;
    if let Safety::Safe(_) = signature.safety {
        signature.safety = Safety::Default;
    }
    let (visibility, body) = (&callable.visibility, &callable.body);
    let quiet = expand::quiet();
    (keeps_clear && signature.variadic.is_none())
        .then(|| quote!(#quiet #[allow(unused)] #visibility #signature #body))
}

/// The block as it is, with the constants of its kinds.
pub(crate) fn impl_block(worker: &WorkerImpl) -> TokenStream {
    let private = expand::private(worker.attribute.root.as_ref());
    let quiet = expand::quiet();
    let (block, self_type) = (&worker.block, &worker.block.self_type);
    let constants = worker.consumers.iter().map(|consumer| expand_constant(consumer, &private));
    let define = expand_worker(&quote!(#self_type), &private);
    let cfgs: Vec<_> = block.cfgs().collect();
    quote! {
        #block

        #(#cfgs)*
        #quiet
        impl #self_type {
            #(#constants)*
        }

        #(#cfgs)*
        #define
    }
}

fn expand_constant(consumer: &Consumer, private: &TokenStream) -> TokenStream {
    let method = &consumer.method;
    let (constant, cfgs) = (expand::constant(method), &method.cfgs);
    let kind = quote!(#private::Kind::from_static("invalid"));
    match parameters::payload(&method.parameters) {
        Some(payload) => quote! {
            #(#cfgs)*
            pub const #constant: #private::KindOf<#payload> =
                #private::KindOf::new(#kind, ::core::option::Option::None, ::core::option::Option::None);
        },
        None => quote! {
            #(#cfgs)*
            pub const #constant: #private::BareKind =
                #private::BareKind::new(#kind, ::core::option::Option::None);
        },
    }
}

/// A kind of that type, so that `Task::from` it is no mistake of its own.
pub(crate) fn task_type(task_type: &TaskType) -> TokenStream {
    let TaskType { name, attribute, .. } = task_type;
    let plain = Attribute::of_root(attribute.root.clone());
    let kind = "invalid".to_owned();
    expand::task_type(&TaskType { attribute: plain, name: name.clone(), kind })
}

fn expand_worker(name: &TokenStream, private: &TokenStream) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl #private::Worker for #name {
            fn define(self: ::std::sync::Arc<Self>, _: &mut #private::Definition) {}
        }
    }
}

/// The parameter of `task`, and the type of the task.
fn task_parameter(parameters: &[Parameter]) -> (TokenStream, TokenStream) {
    match parameters::payload(parameters) {
        Some(payload) => (quote!(_: #payload), quote!(#payload)),
        None => (quote!(), quote!(())),
    }
}
