//! Runs a checked tree.
//!
//! Invariant: every node is charged before its work is done, so a run ends when its budget does. Absent: what functions do.

use crate::Error;
use crate::ast::{Expr, Item, Kind, Macro, Node};
use crate::check::type_value;
use crate::functions::{Done, Meter};
use crate::program::Outcome;
use crate::value::Value;

const LIST: u64 = 10;
const MAP: u64 = 30;
const STRUCT: u64 = 40;

type Lookup<'a, 'v> = &'v dyn Fn(&str) -> Option<Result<Value<'a>, Error>>;

pub(crate) fn evaluate<'a>(root: &Expr, variables: Lookup<'a, '_>, budget: u64) -> Outcome<'a> {
    let mut eval = Eval { variables, locals: Vec::new(), meter: Meter { spent: 0, budget } };
    let result = eval.expr(root);
    Outcome { result, cost: eval.meter.spent }
}

struct Eval<'a, 'v> {
    variables: Lookup<'a, 'v>,
    locals: Vec<(&'v str, Value<'a>)>,
    meter: Meter,
}

fn truth(value: &Value<'_>) -> Result<bool, Error> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(Error::no_overload()),
    }
}

impl<'a, 'v> Eval<'a, 'v> {
    fn expr(&mut self, expr: &'v Expr) -> Done<'a>
    where
        'a: 'v,
    {
        match &expr.node {
            Node::Const(value) => Ok(value.clone()),
            Node::Ident(name) => self.ident(name),
            Node::Select { operand, field, test, optional } => {
                let of = self.expr(operand)?;
                self.meter.charge(1)?;
                if *test { Ok(Value::Bool(has(&of, field))) } else { select(&of, field, *optional) }
            }
            Node::Call { target, args, run, .. } => {
                let mut values = Vec::with_capacity(args.len() + 1);
                for arg in target.iter().map(|t| &**t).chain(args) {
                    values.push(self.expr(arg)?);
                }
                self.meter.charge(1)?;
                let run = run.ok_or_else(Error::no_overload)?;
                run(&mut self.meter, &values)
            }
            Node::And(left, right) => self.both(left, right, false),
            Node::Or(left, right) => self.both(left, right, true),
            Node::Choice(parts) => {
                let condition = self.expr(&parts[0])?;
                self.expr(&parts[if truth(&condition)? { 1 } else { 2 }])
            }
            Node::List(items) => {
                self.meter.charge(LIST)?;
                let mut all = Vec::with_capacity(items.len());
                for item in items {
                    all.extend(self.item(item)?);
                }
                Ok(Value::list(all))
            }
            Node::Map(entries) => self.map(entries),
            Node::Struct(name, fields) => {
                self.meter.charge(STRUCT)?;
                let mut made = Vec::new();
                for (field, item) in fields {
                    made.extend(self.item(item)?.map(|value| (field.clone(), value)));
                }
                Ok(Value::Made(name.as_str().into(), made.into()))
            }
            Node::Macro(each) => self.walk(each),
        }
    }

    fn ident(&mut self, name: &str) -> Done<'a> {
        self.meter.charge(1)?;
        if let Some((_, value)) = self.locals.iter().rev().find(|(n, _)| *n == name) {
            return Ok(value.clone());
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        match (self.variables)(plain) {
            Some(value) => value,
            None => type_value(plain).ok_or_else(|| Error::new(format!("no such attribute(s): {plain}"))),
        }
    }

    /// `&&`, or `||` where `decides` is what one side alone decides. What is wrong on one side does not matter if the other decides.
    fn both(&mut self, left: &'v Expr, right: &'v Expr, decides: bool) -> Done<'a> {
        let first = self.expr(left).and_then(|value| truth(&value));
        if first == Ok(decides) || first == Err(Error::OverBudget) {
            return first.map(Value::Bool);
        }
        let second = self.expr(right).and_then(|value| truth(&value));
        if second == Ok(decides) || second == Err(Error::OverBudget) {
            return second.map(Value::Bool);
        }
        first?;
        second.map(Value::Bool)
    }

    fn item(&mut self, item: &'v Item) -> Result<Option<Value<'a>>, Error> {
        let value = self.expr(&item.expr)?;
        match value {
            Value::Optional(inner) if item.optional => Ok(inner.map(|value| (*value).clone())),
            _ if item.optional => Err(Error::no_overload()),
            value => Ok(Some(value)),
        }
    }

    fn map(&mut self, entries: &'v [(Expr, Item)]) -> Done<'a> {
        self.meter.charge(MAP)?;
        let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, item) in entries {
            let key = self.expr(key)?;
            let Some(value) = self.item(item)? else { continue };
            put(&mut made, key, value)?;
        }
        Ok(Value::Map(made.into()))
    }

    fn with<T>(
        &mut self,
        names: &'v [String],
        values: Vec<Value<'a>>,
        run: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let depth = self.locals.len();
        self.locals.extend(names.iter().map(String::as_str).zip(values));
        let out = run(self);
        self.locals.truncate(depth);
        out
    }

    fn walk(&mut self, each: &'v Macro) -> Done<'a> {
        let range = self.expr(&each.range)?;
        self.meter.charge(1)?;
        match each.kind {
            Kind::Bind => self.with(&each.vars, vec![range], |eval| eval.result(each)),
            Kind::OptMap | Kind::OptFlatMap => {
                let Value::Optional(value) = range else { return Err(Error::no_overload()) };
                let Some(value) = value else { return Ok(Value::Optional(None)) };
                let made = self.with(&each.vars, vec![(*value).clone()], |eval| eval.result(each))?;
                Ok(if each.kind == Kind::OptMap { made.some() } else { made })
            }
            Kind::All | Kind::Exists => self.quantified(each, &range),
            _ => self.collected(each, &range),
        }
    }

    fn filter(&mut self, each: &'v Macro) -> Result<bool, Error> {
        match &each.filter {
            None => Ok(true),
            Some(filter) => self.expr(filter).and_then(|value| truth(&value)),
        }
    }

    fn result(&mut self, each: &'v Macro) -> Done<'a> {
        each.result.as_ref().map_or(Ok(Value::Null), |result| self.expr(result))
    }

    /// `all` and `exists`: one element decides, whatever is wrong with others.
    fn quantified(&mut self, each: &'v Macro, range: &Value<'a>) -> Done<'a> {
        let decides = each.kind == Kind::Exists;
        let mut wrong = None;
        for values in elements(range, each.vars.len())? {
            self.meter.charge(3)?;
            match self.with(&each.vars, values, |eval| eval.filter(each)) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(Error::OverBudget) => return Err(Error::OverBudget),
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        wrong.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn collected(&mut self, each: &'v Macro, range: &Value<'a>) -> Done<'a> {
        let (mut list, mut entries, mut count) = (Vec::new(), Vec::new(), 0_usize);
        for values in elements(range, each.vars.len())? {
            self.meter.charge(3)?;
            let first = values[0].clone();
            let made = self.with(&each.vars, values, |eval| {
                if !eval.filter(each)? {
                    return Ok(None);
                }
                eval.result(each).map(Some)
            })?;
            let Some(made) = made else { continue };
            count += 1;
            match each.kind {
                Kind::ExistsOne => {}
                Kind::Filter => list.push(first),
                Kind::TransformMap => put(&mut entries, first, made)?,
                Kind::TransformMapEntry => {
                    for (key, value) in made.entries().ok_or_else(Error::no_overload)? {
                        put(&mut entries, key, value)?;
                    }
                }
                _ => list.push(made),
            }
            self.meter.charge(LIST)?;
        }
        Ok(match each.kind {
            Kind::ExistsOne => Value::Bool(count == 1),
            Kind::TransformMap | Kind::TransformMapEntry => Value::Map(entries.into()),
            _ => Value::list(list),
        })
    }
}

fn put<'a>(entries: &mut Vec<(Value<'a>, Value<'a>)>, key: Value<'a>, value: Value<'a>) -> Result<(), Error> {
    if entries.iter().any(|(k, _)| k.equals(&key)) {
        return Err(Error::new(format!("insert failed: key {key} already exists")));
    }
    entries.push((key, value));
    Ok(())
}

/// What the names of a macro stand for, element by element.
fn elements<'a>(range: &Value<'a>, names: usize) -> Result<Vec<Vec<Value<'a>>>, Error> {
    if let Some(items) = range.items() {
        let index = |at: usize| Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
        let each = items.into_iter().enumerate();
        return Ok(each
            .map(|(at, item)| if names == 2 { vec![index(at), item] } else { vec![item] })
            .collect());
    }
    let entries = range.entries().ok_or_else(Error::no_overload)?;
    Ok(entries.into_iter().map(|(k, v)| if names == 2 { vec![k, v] } else { vec![k] }).collect())
}

fn has(of: &Value<'_>, field: &str) -> bool {
    match of {
        Value::Optional(Some(value)) => has(value, field),
        of => of.field(field).is_some(),
    }
}

fn select<'a>(of: &Value<'a>, field: &str, optional: bool) -> Done<'a> {
    let found = match of {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => {
            return Ok(match select(value, field, true)? {
                Value::Optional(inner) => Value::Optional(inner),
                other => other.some(),
            });
        }
        Value::Fields(..) | Value::Map(_) | Value::Made(..) => of.field(field),
        _ => return Err(Error::no_overload()),
    };
    match found {
        already @ Some(Value::Optional(_)) if optional => Ok(already.unwrap_or(Value::Optional(None))),
        found if optional => Ok(Value::Optional(found.map(std::sync::Arc::new))),
        Some(value) => Ok(value),
        None => Err(Error::new(format!("no such key: {field}"))),
    }
}
