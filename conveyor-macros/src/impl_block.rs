//! `#[worker]` on an `impl` block: checked, then expanded.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{FnArg, Ident, Meta, ReceiverKind, ReturnType, Signature, Type};

use crate::attribute::Attribute;
use crate::block::{ImplBlock, is_consumer};
use crate::errors::Errors;
use crate::expand;
use crate::fallback;
use crate::handler::{Callable, Runs, check_fit, check_signature};
use crate::keys::Place;
use crate::parameters::{self, Parameter};
use crate::schedule::Schedule;

/// A worker of several methods.
pub(crate) struct WorkerImpl {
    pub(crate) attribute: Attribute,
    pub(crate) block: ImplBlock,
    /// The type's name.
    pub(crate) name: Ident,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) producer: Option<Producer>,
}

/// A method that consumes tasks of a kind.
pub(crate) struct Consumer {
    /// What `#[consume(…)]` says.
    pub(crate) attribute: Attribute,
    pub(crate) method: Method,
    /// The schedule, if it is this method's tasks that it makes.
    pub(crate) schedule: Option<Schedule>,
}

/// The method that produces tasks.
pub(crate) struct Producer {
    pub(crate) method: Method,
    pub(crate) schedule: Option<Schedule>,
}

/// A method's signature, understood.
pub(crate) struct Method {
    pub(crate) signature: Signature,
    pub(crate) receiver: Receiver,
    pub(crate) parameters: Vec<Parameter>,
    /// The `#[cfg]`s on it.
    pub(crate) cfgs: Vec<syn::Attribute>,
}

/// How a method takes its worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// Not at all.
    None,
    /// `&self`
    Reference,
    /// `self: Arc<Self>`
    Shared,
    /// `self: &Arc<Self>`
    SharedReference,
}

/// The worker of an `impl` block; or its mistakes, and something in its place.
pub(crate) fn worker(attribute: TokenStream, block: ImplBlock) -> TokenStream {
    let mut errors = Errors::default();
    let attribute = Attribute::parse(attribute, Place::Impl, &mut errors);
    let Some(name) = check_block(&block, &mut errors) else {
        return quote!(#errors #block);
    };
    let worker = WorkerImpl::check(attribute, block, name, &mut errors);
    if errors.is_empty() {
        expand::impl_block(&worker)
    } else {
        let stub = fallback::impl_block(&worker);
        quote!(#errors #stub)
    }
}

/// The type's name, if the block is one that can be a worker's.
fn check_block(block: &ImplBlock, errors: &mut Errors) -> Option<Ident> {
    if let Some((of_trait, _)) = &block.of_trait {
        let message = "`#[worker]` goes on the `impl` block of a type, not of a trait for it";
        errors.on(of_trait, message);
        return None;
    }
    if !block.generics.params.is_empty() {
        let message = "a worker's kinds are known by name, so its type cannot be generic; write \
                       the block for one type, or implement `Worker` by hand";
        errors.on(&block.generics.params, message);
        return None;
    }
    match &block.self_type {
        Type::Path(path) if path.qself.is_none() => {
            path.path.segments.last().map(|last| last.ident.unraw())
        }
        other => {
            errors.on(other, "a worker is a type with a name: a struct or an enum of yours");
            None
        }
    }
}

impl WorkerImpl {
    fn check(attribute: Attribute, block: ImplBlock, name: Ident, errors: &mut Errors) -> Self {
        let mut consumers = Vec::new();
        let mut producer = None;
        let schedule = Schedule::check(&attribute, errors);
        let alone = block.methods().filter(|method| is_consumer(method)).count() == 1;
        for callable in block.methods() {
            if let Some(second) = callable.attributes_named("consume").nth(1) {
                errors.on(second, "`#[consume]` is written twice; put all keys into one");
            }
            if is_consumer(callable) {
                consumers.push(Consumer::check(callable, alone, &attribute, errors));
            } else if callable.signature.ident == "produce" {
                let method = check_producer(callable, errors);
                producer = Some(Producer { method, schedule: None });
            }
        }
        let mut worker = WorkerImpl { attribute, block, name, consumers, producer };
        worker.check_shared_keys(errors);
        worker.place_schedule(schedule, errors);
        worker
    }

    /// Keys on the block that mean something for one kind only.
    fn check_shared_keys(&self, errors: &mut Errors) {
        if self.consumers.is_empty() {
            let message = format!(
                "`{}` consumes nothing; add `async fn consume(&self, payload: Payload)`, or mark \
                 its methods with `#[consume]`",
                self.name
            );
            errors.on(&self.block.self_type, message);
        }
        if self.consumers.len() > 1 {
            for key in ["key", "retry_if", "blocking"] {
                if let Some(at) = self.attribute.key(key) {
                    let message = format!(
                        "`{key}` is for one kind, and `{}` has several; write it in the \
                         `#[consume(…)]` of the method that it is for",
                        self.name
                    );
                    errors.at(at, message);
                }
            }
        }
        if let (Some(at), None) = (self.attribute.key("produce_timeout"), &self.producer) {
            let message = "`produce_timeout` limits a `produce` method, and there is none here; \
                           the limit of `consume` is `timeout`";
            errors.at(at, message);
        }
    }

    /// Gives the schedule to whom it is for.
    fn place_schedule(&mut self, schedule: Option<Schedule>, errors: &mut Errors) {
        if let Some(producer) = &mut self.producer {
            producer.schedule = schedule;
            return;
        }
        let Some((key, at)) = self.attribute.schedule_key() else {
            return;
        };
        match &mut self.consumers[..] {
            [only] if parameters::payload(&only.method.parameters).is_none() => {
                only.schedule = schedule;
            }
            [] => {}
            _ => {
                let message = format!(
                    "`{key}` needs a method that says which tasks to make; add `async fn \
                     produce(&self) -> Vec<Payload>`"
                );
                errors.at(at, message);
            }
        }
    }
}

impl Consumer {
    fn check(callable: &Callable, alone: bool, shared: &Attribute, errors: &mut Errors) -> Self {
        let attribute = match callable.attributes_named("consume").next() {
            Some(mark) => match &mark.meta {
                Meta::Path(_) => Attribute::default(),
                Meta::List(list) => Attribute::parse(list.tokens.clone(), Place::Consume, errors),
                Meta::NameValue(meta) => {
                    errors
                        .on(meta, "write its keys in parentheses: `#[consume(timeout = \"30s\")]`");
                    Attribute::default()
                }
            },
            None => Attribute::default(),
        };
        let signature = &callable.signature;
        let method = Method::check(callable, errors);
        // What several kinds share is checked by `check_shared_keys`.
        let said: &[_] = if alone { &[&attribute, shared] } else { &[&attribute] };
        check_signature(signature, Runs::said_by(said), errors);
        for attribute in said {
            check_fit(attribute, signature, &method.parameters, errors);
        }
        Consumer { attribute, method, schedule: None }
    }

    /// The kind's name, unless an attribute or the payload's type says otherwise.
    pub(crate) fn kind(&self, worker: &WorkerImpl) -> (String, Option<Span>) {
        if let Some(kind) = &self.attribute.kind {
            return (kind.value.clone(), Some(kind.at));
        }
        let ident = self.method.signature.ident.unraw();
        let shared = worker.attribute.kind.as_ref();
        let prefix = shared.map_or_else(|| worker.name.to_string(), |kind| kind.value.clone());
        if ident == "consume" {
            (prefix, shared.map(|kind| kind.at))
        } else {
            (format!("{prefix}.{ident}"), None)
        }
    }
}

fn check_producer(callable: &Callable, errors: &mut Errors) -> Method {
    let signature = &callable.signature;
    check_signature(signature, Runs::Producer, errors);
    let method = Method::check(callable, errors);
    if let Some(payload) = parameters::payload(&method.parameters) {
        let message = "`produce` makes payloads and takes none; its parameters are `Context` and \
                       `State<…>`";
        errors.on(payload, message);
    }
    if let ReturnType::Default = signature.output {
        let message = "`produce` returns the tasks that it makes: `Vec<Payload>`, or a `Result` \
                       of it";
        errors.on(&signature.ident, message);
    }
    method
}

impl Method {
    fn check(callable: &Callable, errors: &mut Errors) -> Self {
        let signature = &callable.signature;
        Method {
            receiver: receiver(signature, errors),
            parameters: parameters::classify(signature, errors),
            signature: signature.clone(),
            cfgs: callable.attributes_named("cfg").cloned().collect(),
        }
    }
}

fn receiver(signature: &Signature, errors: &mut Errors) -> Receiver {
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Receiver::None;
    };
    let message = match &receiver.kind {
        ReceiverKind::Reference(_, _, None) => return Receiver::Reference,
        ReceiverKind::Reference(_, _, Some(_)) => {
            "several attempts run at once and share their worker, so it cannot be `&mut self`; \
             take `&self`, and keep what changes in a `Mutex` or an atomic"
        }
        ReceiverKind::Typed(_, ty) => match type_text(ty).as_str() {
            "&Self" => return Receiver::Reference,
            text if text.ends_with("Arc<Self>") && text.starts_with('&') => {
                return Receiver::SharedReference;
            }
            text if text.ends_with("Arc<Self>") => return Receiver::Shared,
            _ => "a worker is shared by its attempts: take `&self` or `self: Arc<Self>`",
        },
        _ => {
            "a worker is shared by its attempts, so none can have it for itself; take `&self` or \
             `self: Arc<Self>`"
        }
    };
    errors.on(receiver, message);
    Receiver::Reference
}

fn type_text(ty: &Type) -> String {
    quote!(#ty).to_string().replace(' ', "")
}
