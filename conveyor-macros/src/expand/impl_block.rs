//! An `impl` block's worker: the block as it is, a constant for each kind, and the definition.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use super::attempt::{Attempt, Returns};
use super::kind::{Kind, expand_duration, expand_schedule, expand_settings, expand_states};
use super::{at, local, private, quiet};
use crate::impl_block::{Consumer, Method, Producer, Receiver, WorkerImpl};
use crate::parameters;

/// All that an `impl` block becomes.
pub(crate) fn expand(worker: &WorkerImpl) -> TokenStream {
    let private = &private(worker.attribute.root.as_ref());
    let (block, self_type) = (&worker.block, &worker.block.self_type);
    let cfgs: Vec<_> = block.cfgs().collect();
    let quiet = quiet();
    let mut items = TokenStream::new();
    let mut definitions = TokenStream::new();
    let mut checks = TokenStream::new();
    for consumer in &worker.consumers {
        expand_consumer(consumer, worker, private, (&mut items, &mut definitions, &mut checks));
    }
    if let Some(producer) = &worker.producer {
        let (item, definition) = expand_producer(producer, worker, private);
        items.extend(item);
        definitions.extend(definition);
    }
    items.extend(expand_task(worker, private));
    let definition = local("definition");
    quote! {
        #block

        #(#cfgs)*
        #quiet
        impl #self_type {
            #items
        }

        #(#cfgs)*
        #[automatically_derived]
        #quiet
        impl #private::Worker for #self_type {
            fn define(self: ::std::sync::Arc<Self>, #definition: &mut #private::Definition) {
                #definitions
            }
        }

        #checks
    }
}

/// The name of a method's constant.
pub(crate) fn constant(method: &Method) -> Ident {
    let ident = method.signature.ident.unraw();
    format_ident!("{}", ident.to_string().to_uppercase(), span = at(ident.span()))
}

type Parts<'a> = (&'a mut TokenStream, &'a mut TokenStream, &'a mut TokenStream);

fn expand_consumer(
    consumer: &Consumer,
    worker: &WorkerImpl,
    private: &TokenStream,
    (items, definitions, checks): Parts<'_>,
) {
    let method = &consumer.method;
    let (ident, cfgs) = (&method.signature.ident, &method.cfgs);
    let kind = Kind {
        name: consumer.kind(worker),
        parameters: &method.parameters,
        attributes: &[&consumer.attribute, &worker.attribute],
        schedule: consumer.schedule.as_ref(),
        key_function: local(&format!("key_{}", ident.unraw())),
        private,
    };
    let attempt_name = local(&format!("attempt_{}", ident.unraw()));
    let attempt = expand_attempt(
        &attempt_name,
        method,
        Returns::Outcome { retry_if: kind.retry_if() },
        private,
    );
    let key = kind.expand_key().map(|key| quote!(#(#cfgs)* #key));
    let constant = constant(method);
    let shape = if kind.payload().is_some() { "payload" } else { "" };
    let doc = format!(
        "The kind `{0}`: `{1}::{constant}.task({shape})` is a task for `{ident}`.",
        kind.name.0, worker.name
    );
    let name = kind.expand_name();
    let (of_type, of_worker) = kind.expand_defaults();
    let constant_type = match kind.payload() {
        Some(payload) => quote!(#private::KindOf<#payload>),
        None => quote!(#private::BareKind),
    };
    let of_type = kind.payload().map(|_| quote!(#of_type,));
    items.extend(quote! {
        #(#cfgs)*
        #[doc = #doc]
        pub const #constant: #constant_type = <#constant_type>::new(#name, #of_type #of_worker);

        #(#cfgs)*
        #attempt

        #key
    });
    let handler = expand_handler(&attempt_name, method);
    let define = kind.expand_definition(&quote!(Self::#constant.kind().clone()), &handler);
    definitions.extend(quote!(#(#cfgs)* { #define }));
    if let Some(check) = kind.expand_check() {
        let block_cfgs = worker.block.cfgs();
        checks.extend(quote!(#(#block_cfgs)* #(#cfgs)* #check));
    }
}

/// The producer: its tasks are of the only kind if they are payloads of that.
fn expand_producer(
    producer: &Producer,
    worker: &WorkerImpl,
    private: &TokenStream,
) -> (TokenStream, TokenStream) {
    let method = &producer.method;
    let cfgs = &method.cfgs;
    let only_kind = match &worker.consumers[..] {
        [only] if parameters::payload(&only.method.parameters).is_some() => {
            Some(constant(&only.method))
        }
        _ => None,
    };
    let name = local("attempt_produce");
    let returns = Returns::Tasks { only_kind };
    let attempt = expand_attempt(&name, method, returns, private);
    let kind = match &worker.attribute.kind {
        Some(kind) => kind.value.clone(),
        None => worker.name.to_string(),
    };
    let (definition, defined) = (local("definition"), local("kind"));
    let handler = expand_handler(&name, method);
    let settings = expand_settings(&[&worker.attribute], private);
    let timeout = worker.attribute.produce_timeout.as_ref().map(|timeout| {
        let timeout = expand_duration(timeout.value);
        quote!(#defined.timeout(#timeout);)
    });
    let states = expand_states(&method.parameters, private);
    let schedule = producer.schedule.as_ref().map(|schedule| expand_schedule(schedule, private));
    let define = quote! {
        #(#cfgs)*
        {
            let #defined = #definition.produce(#kind, #handler);
            #settings #timeout #states #schedule
        }
    };
    (quote!(#(#cfgs)* #attempt), define)
}

fn expand_attempt(
    name: &Ident,
    method: &Method,
    returns: Returns<'_>,
    private: &TokenStream,
) -> TokenStream {
    Attempt {
        name: name.clone(),
        handler: &method.signature.ident,
        signature: &method.signature,
        parameters: &method.parameters,
        receiver: method.receiver,
        returns,
        private,
    }
    .expand()
}

/// The closure or function that the definition is given.
fn expand_handler(attempt: &Ident, method: &Method) -> TokenStream {
    if method.receiver == Receiver::None {
        return quote!(Self::#attempt);
    }
    let (worker, ctx) = (local("worker"), local("ctx"));
    quote! {{
        let #worker = ::std::sync::Arc::clone(&self);
        move |#ctx| Self::#attempt(::std::sync::Arc::clone(&#worker), #ctx)
    }}
}

/// `Feeds::task(payload)`, for a `consume` whose block has no `task` of its own.
fn expand_task(worker: &WorkerImpl, private: &TokenStream) -> Option<TokenStream> {
    let consume = worker.consumers.iter().find(|c| c.method.signature.ident == "consume")?;
    if worker.block.methods().any(|method| method.signature.ident == "task") {
        return None;
    }
    let (cfgs, constant) = (&consume.method.cfgs, constant(&consume.method));
    let (parameter, payload, task) = match parameters::payload(&consume.method.parameters) {
        Some(payload) => (
            quote!(payload_: #payload),
            quote!(#payload),
            quote! {
                #[allow(unused_imports)]
                use #private::NotAPayload as _;
                #private::PayloadOf::<#payload>::task_of(&Self::#constant, payload_)
            },
        ),
        None => (quote!(), quote!(()), quote!(Self::#constant.task())),
    };
    Some(quote! {
        #(#cfgs)*
        /// A task for `consume`.
        #[must_use]
        pub fn task(#parameter) -> #private::Task<#payload> {
            #task
        }
    })
}
