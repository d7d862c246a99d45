//! Which type each part of an expression has, and what it names; errors are cel-go's.
//!
//! Invariant: what passes has a function for each call and a type for each node. Absent: messages of protobuf.

use crate::ast::{Expr, Item, Kind, Macro, Node, each_part};
use crate::decls::{Overload, TABLE};
use crate::functions;
use crate::lex::Issue;
use crate::program::Env;
use crate::types::Type;
use crate::value::Value;

/// Checks an expression in place.
pub(crate) fn check(env: &Env, expr: &mut Expr) -> Vec<Issue> {
    let mut checker =
        Checker { env, scopes: Vec::new(), bound: Vec::new(), issues: Vec::new(), mixed: false };
    checker.expr(expr);
    checker.settle(expr);
    let mut issues = checker.issues;
    issues.sort_by_key(|issue| issue.at);
    issues
}

struct Checker<'e> {
    env: &'e Env,
    scopes: Vec<(String, Type)>,
    /// What type parameters turned out to be.
    bound: Vec<Option<Type>>,
    issues: Vec<Issue>,
    /// Whether literals may hold values of different types, as the arguments of `format` do.
    mixed: bool,
}

impl Checker<'_> {
    fn tell(&mut self, at: usize, what: String) -> Type {
        self.issues.push(Issue { at, what });
        Type::Dyn
    }

    fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(self.bound.len() - 1)
    }

    fn expr(&mut self, expr: &mut Expr) {
        let at = expr.at;
        if let Some((name, ty)) = self.qualified(expr) {
            expr.node = Node::Ident(name);
            expr.ty = ty;
            return;
        }
        expr.ty = match &mut expr.node {
            Node::Const(value) => value.ty(),
            Node::Ident(name) => self.ident(at, name),
            Node::Select { operand, field, test, optional } => {
                self.expr(operand);
                let found = self.select(at, &operand.ty.clone(), field, *optional);
                if *test { Type::Bool } else { found }
            }
            Node::Call { .. } => self.call(expr),
            Node::And(left, right) | Node::Or(left, right) => {
                self.expr(left);
                self.expr(right);
                let types = [left.ty.clone(), right.ty.clone()];
                let name = if matches!(expr.node, Node::And(..)) { "_&&_" } else { "_||_" };
                self.bools(at, name, &types)
            }
            Node::Choice(parts) => {
                parts.iter_mut().for_each(|part| self.expr(part));
                self.choice(at, [&parts[0].ty, &parts[1].ty, &parts[2].ty].map(Clone::clone))
            }
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Struct(name, fields) => {
                for (_, item) in fields.iter_mut() {
                    self.expr(&mut item.expr);
                }
                if self.env.makes(name) {
                    Type::object(name, Vec::new())
                } else {
                    self.tell(at, format!("undeclared reference to '{name}' (in container '')"))
                }
            }
            Node::Macro(each) => self.walk(at, each),
        };
    }

    /// A chain of names that is a variable as a whole.
    fn qualified(&mut self, expr: &Expr) -> Option<(String, Type)> {
        if !matches!(expr.node, Node::Select { test: false, optional: false, .. }) {
            return None;
        }
        let name = chain(expr)?;
        let first = name.split('.').next().unwrap_or_default();
        if self.scopes.iter().any(|(n, _)| n == first) {
            return None;
        }
        if let Some(variable) = self.env.variable(&name) {
            return Some((name, variable.0.clone()));
        }
        let ty = type_named(&name)?;
        Some((name, Type::Type(ty.into())))
    }

    fn ident(&mut self, at: usize, name: &str) -> Type {
        let plain = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(n, _)| n == name) {
            return ty.clone();
        }
        if let Some((ty, _)) = self.env.variable(plain) {
            return ty.clone();
        }
        match type_named(plain) {
            Some(ty) => Type::Type(ty.into()),
            None => self.tell(at, format!("undeclared reference to '{plain}' (in container '')")),
        }
    }

    fn select(&mut self, at: usize, of: &Type, field: &str, optional: bool) -> Type {
        let of = self.resolved(of);
        let (inner, wraps) = match &of {
            Type::Optional(inner) => (self.resolved(inner), true),
            _ => (of.clone(), false),
        };
        let found = match &inner {
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.ty.clone(),
                None => return self.tell(at, format!("undefined field '{field}'")),
            },
            Type::Map(_, value) => (**value).clone(),
            Type::Dyn | Type::Param(_) => Type::Dyn,
            other => {
                let why = format!("type '{other}' does not support field selection");
                return self.tell(at, why);
            }
        };
        match found {
            already @ Type::Optional(_) => already,
            found if wraps || optional => Type::optional(found),
            found => found,
        }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let Node::Call { name, target, args, run } = &mut expr.node else { return Type::Dyn };
        // `sets.contains(a, b)`: the name of a function, not a call on `sets`.
        if let Some(space) = target.as_deref().and_then(chain) {
            let full = format!("{space}.{name}");
            if TABLE.contains_key(&full) && self.env.variable(&space).is_none() {
                *name = full;
                *target = None;
            }
        }
        let member = target.is_some();
        let before = self.mixed;
        self.mixed |= name == "format";
        let mut types = Vec::new();
        for arg in target.iter_mut().map(|t| &mut **t).chain(args.iter_mut()) {
            self.expr(arg);
            types.push(arg.ty.clone());
        }
        self.mixed = before;
        let plain = name.strip_prefix('.').unwrap_or(name).to_owned();
        let (Some(overloads), Some(function)) = (TABLE.get(&plain), functions::find(&plain, member)) else {
            return self.tell(at, format!("undeclared reference to '{plain}' (in container '')"));
        };
        *run = Some(function);
        self.overload(at, &plain, member, overloads, &types)
    }

    fn overload(&mut self, at: usize, name: &str, member: bool, all: &[Overload], args: &[Type]) -> Type {
        let before = self.bound.clone();
        let mut found: Option<(Type, Vec<Option<Type>>)> = None;
        for overload in all.iter().filter(|o| o.member == member && o.params.len() == args.len()) {
            self.bound.clone_from(&before);
            let params = [self.fresh(), self.fresh()];
            let fits = overload.params.iter().zip(args).all(|(param, arg)| {
                let param = instance(param, &params);
                self.assign(&param, arg)
            });
            if !fits {
                continue;
            }
            let result = instance(&overload.result, &params);
            let result = self.resolved_deep(&result, false);
            match &mut found {
                None => found = Some((result, self.bound.clone())),
                Some((first, _)) if *first != result => *first = Type::Dyn,
                Some(_) => {}
            }
        }
        match found {
            Some((result, bound)) => {
                self.bound = bound;
                result
            }
            None => {
                self.bound = before;
                let shown = self.shown(member, args);
                self.tell(at, format!("found no matching overload for '{name}' applied to '{shown}'"))
            }
        }
    }

    fn shown(&self, member: bool, args: &[Type]) -> String {
        let names: Vec<String> = args.iter().map(|arg| self.resolved_deep(arg, true).to_string()).collect();
        match names.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", names.join(", ")),
        }
    }

    fn bools(&mut self, at: usize, name: &str, types: &[Type]) -> Type {
        if types.iter().all(|ty| self.assign(&Type::Bool, ty)) {
            return Type::Bool;
        }
        let shown = self.shown(false, types);
        self.tell(at, format!("found no matching overload for '{name}' applied to '{shown}'"))
    }

    fn choice(&mut self, at: usize, types: [Type; 3]) -> Type {
        let result = self.fresh();
        let fits = self.assign(&Type::Bool, &types[0])
            && self.assign(&result, &types[1])
            && self.assign(&result, &types[2]);
        if fits {
            return if types[2].is_dyn() { Type::Dyn } else { result };
        }
        let shown = self.shown(false, &types);
        self.tell(at, format!("found no matching overload for '_?_:_' applied to '{shown}'"))
    }

    fn list(&mut self, items: &mut [Item]) -> Type {
        let of = if self.mixed { Type::Dyn } else { self.fresh() };
        for item in items {
            self.item(item, &of);
        }
        Type::list(self.resolved(&of))
    }

    fn map(&mut self, entries: &mut [(Expr, Item)]) -> Type {
        let (keys, values) = if self.mixed { (Type::Dyn, Type::Dyn) } else { (self.fresh(), self.fresh()) };
        for (key, item) in entries {
            self.expr(key);
            self.same(key.at, &keys, &key.ty.clone());
            self.item(item, &values);
        }
        Type::Map(self.resolved(&keys).into(), self.resolved(&values).into())
    }

    fn item(&mut self, item: &mut Item, of: &Type) {
        self.expr(&mut item.expr);
        let ty = item.expr.ty.clone();
        if !item.optional {
            return self.same(item.expr.at, of, &ty);
        }
        match self.resolved(&ty) {
            Type::Optional(inner) => self.same(item.expr.at, of, &inner.as_ref().clone()),
            Type::Dyn => {}
            other => {
                self.tell(
                    item.expr.at,
                    format!("expected type 'optional_type({other})' but found '{other}'"),
                );
            }
        }
    }

    fn same(&mut self, at: usize, of: &Type, ty: &Type) {
        if !self.assign(of, ty) {
            let (of, ty) = (self.resolved_deep(of, true), self.resolved_deep(ty, true));
            self.tell(at, format!("expected type '{of}' but found '{ty}'"));
        }
    }

    fn walk(&mut self, at: usize, each: &mut Macro) -> Type {
        self.expr(&mut each.range);
        let range = self.resolved(&each.range.ty.clone());
        let Some(types) = self.elements(each, &range) else {
            let why = format!(
                "expression of type '{range}' cannot be range of a comprehension (must be list, map, or dynamic)"
            );
            return self.tell(each.range.at, why);
        };
        let depth = self.scopes.len();
        self.scopes.extend(each.vars.iter().cloned().zip(types.clone()));
        if let Some(filter) = &mut each.filter {
            self.expr(filter);
            let name = match each.kind {
                Kind::All => "_&&_",
                Kind::Exists => "_||_",
                _ => "_?_:_",
            };
            let ty = filter.ty.clone();
            if !self.assign(&Type::Bool, &ty) {
                let shown = self.shown(false, &[Type::Bool, ty]);
                self.tell(at, format!("found no matching overload for '{name}' applied to '{shown}'"));
            }
        }
        if let Some(result) = &mut each.result {
            self.expr(result);
        }
        self.scopes.truncate(depth);
        let result = each.result.as_ref().map_or(Type::Dyn, |r| r.ty.clone());
        match each.kind {
            Kind::All | Kind::Exists | Kind::ExistsOne => Type::Bool,
            Kind::Filter if matches!(range, Type::Map(..)) => Type::list(types[0].clone()),
            Kind::Filter => Type::list(types[0].clone()),
            Kind::Map | Kind::TransformList => Type::list(result),
            Kind::TransformMap if matches!(range, Type::Map(..)) => {
                Type::Map(types[0].clone().into(), result.into())
            }
            Kind::TransformMap => Type::Map(Type::Int.into(), result.into()),
            Kind::OptMap => Type::optional(result),
            Kind::TransformMapEntry | Kind::OptFlatMap | Kind::Bind => result,
        }
    }

    /// The types of what a macro names.
    fn elements(&mut self, each: &Macro, range: &Type) -> Option<Vec<Type>> {
        let two = each.vars.len() == 2;
        if each.kind == Kind::Bind {
            return Some(vec![range.clone()]);
        }
        if matches!(each.kind, Kind::OptMap | Kind::OptFlatMap) {
            return match range {
                Type::Optional(inner) => Some(vec![(**inner).clone()]),
                Type::Dyn => Some(vec![Type::Dyn]),
                _ => None,
            };
        }
        Some(match range {
            Type::List(of) if two => vec![Type::Int, (**of).clone()],
            Type::List(of) => vec![(**of).clone()],
            Type::Map(key, value) if two => vec![(**key).clone(), (**value).clone()],
            Type::Map(key, _) => vec![(**key).clone()],
            // The fields of an object are not walked over but where its type is not known.
            Type::Dyn | Type::Param(_) => vec![Type::Dyn; each.vars.len()],
            _ => return None,
        })
    }

    /// What is known of a type at its surface.
    fn resolved(&self, ty: &Type) -> Type {
        let mut ty = ty;
        while let Type::Param(n) = ty {
            match self.bound.get(*n) {
                Some(Some(known)) => ty = known,
                _ => break,
            }
        }
        ty.clone()
    }

    /// What is known of it throughout; what is not known may be anything, if `open`.
    fn resolved_deep(&self, ty: &Type, open: bool) -> Type {
        let deep = |ty: &Type| std::sync::Arc::new(self.resolved_deep(ty, open));
        match self.resolved(ty) {
            Type::Param(_) if open => Type::Dyn,
            Type::List(of) => Type::List(deep(&of)),
            Type::Map(key, value) => Type::Map(deep(&key), deep(&value)),
            Type::Optional(of) => Type::Optional(deep(&of)),
            Type::Type(of) => Type::Type(deep(&of)),
            other => other,
        }
    }

    /// Whether a value of one type is one of another; learns what parameters are.
    fn assign(&mut self, to: &Type, from: &Type) -> bool {
        match (self.resolved(to), self.resolved(from)) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (Type::Param(n), other) | (other, Type::Param(n)) => {
                if self.occurs(n, &other) {
                    return false;
                }
                self.bound[n] = Some(other);
                true
            }
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.assign(&a, &b),
            (Type::Map(a, b), Type::Map(c, d)) => self.assign(&a, &c) && self.assign(&b, &d),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (
                Type::Object(_) | Type::Timestamp | Type::Duration | Type::Opaque(_) | Type::Optional(_),
                Type::Null,
            )
            | (
                Type::Null,
                Type::Object(_) | Type::Timestamp | Type::Duration | Type::Opaque(_) | Type::Optional(_),
            ) => true,
            (a, b) => a == b,
        }
    }

    fn occurs(&self, n: usize, ty: &Type) -> bool {
        match self.resolved(ty) {
            Type::Param(m) => m == n,
            Type::List(of) | Type::Optional(of) | Type::Type(of) => self.occurs(n, &of),
            Type::Map(key, value) => self.occurs(n, &key) || self.occurs(n, &value),
            _ => false,
        }
    }

    /// Writes into each node what its type turned out to be.
    fn settle(&self, expr: &mut Expr) {
        expr.ty = self.resolved_deep(&expr.ty, true);
        each_part(expr, &mut |part| self.settle(part));
    }
}

/// A name, or names with dots.
pub(crate) fn chain(expr: &Expr) -> Option<String> {
    match &expr.node {
        Node::Ident(name) => Some(name.strip_prefix('.').unwrap_or(name).to_owned()),
        Node::Select { operand, field, test: false, optional: false } => {
            Some(format!("{}.{field}", chain(operand)?))
        }
        _ => None,
    }
}

fn instance(ty: &Type, params: &[Type; 2]) -> Type {
    let deep = |ty: &Type| std::sync::Arc::new(instance(ty, params));
    match ty {
        Type::Param(n) => params[*n].clone(),
        Type::List(of) => Type::List(deep(of)),
        Type::Optional(of) => Type::Optional(deep(of)),
        Type::Type(of) => Type::Type(deep(of)),
        Type::Map(key, value) => Type::Map(deep(key), deep(value)),
        other => other.clone(),
    }
}

/// The type of a name that is one.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::Map(Type::Dyn.into(), Type::Dyn.into()),
        "type" => Type::Type(Type::Dyn.into()),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        _ => return None,
    })
}

/// The value of a name that is a type.
pub(crate) fn type_value(name: &str) -> Option<Value<'static>> {
    type_named(name).map(Value::Type)
}
