//! What an expression may cost before it is run, by how large what it sees may be (cel-go's `checker/cost`).
//!
//! Invariant: sums and products stay at their bounds instead of passing them. What the size of is not known may be of any.

use std::sync::Arc;

use crate::ast::{Expr, Kind, Macro, Node};
use crate::program::Env;
use crate::types::Type;
use crate::value::Value;

/// How large something may be, and what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Size {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
    /// Of a map's keys.
    pub key: Option<Arc<Self>>,
    /// Of the elements, or of a map's values.
    pub inner: Option<Arc<Self>>,
}

impl Default for Size {
    fn default() -> Self {
        Self { min: 0, max: u64::MAX, key: None, inner: None }
    }
}

impl Size {
    /// No more than this.
    #[must_use]
    pub fn most(max: u64) -> Self {
        Self { max, ..Self::default() }
    }

    fn exactly(size: u64) -> Self {
        Self { min: size, max: size, key: None, inner: None }
    }

    /// With what is in it.
    #[must_use]
    pub fn of(self, inner: Self) -> Self {
        Self { inner: Some(Arc::new(inner)), ..self }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
            key: None,
            inner: self.inner.clone().or_else(|| other.inner.clone()),
        }
    }

    fn either(&self, other: &Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            key: self.key.clone(),
            inner: self.inner.clone().or_else(|| other.inner.clone()),
        }
    }

    fn inner(&self) -> Self {
        self.inner.as_deref().cloned().unwrap_or_default()
    }

    fn cost(&self) -> Estimate {
        Estimate { min: self.min, max: self.max }
    }
}

/// From where to where a cost is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Estimate {
    fn exactly(cost: u64) -> Self {
        Self { min: cost, max: cost }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn either(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// A tenth, which is what a character costs.
    fn tenth(self) -> Self {
        Self { min: self.min.div_ceil(10), max: part(self.max, 10) }
    }
}

fn part(of: u64, by: u64) -> u64 {
    if of == u64::MAX { of } else { of.div_ceil(by) }
}

/// What is known of a node.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) cost: Estimate,
    size: Size,
}

/// Estimates an expression.
pub(crate) fn estimate(env: &Env, expr: &Expr) -> Known {
    Estimator { env, locals: Vec::new() }.of(expr)
}

struct Estimator<'e> {
    env: &'e Env,
    locals: Vec<(&'e str, Size)>,
}

impl<'e> Estimator<'e> {
    fn of(&mut self, expr: &'e Expr) -> Known {
        let known = |cost: Estimate, size: Size| Known { cost, size };
        match &expr.node {
            Node::Const(value) => {
                let size = value.size().map_or(1, |size| u64::try_from(size).unwrap_or(u64::MAX));
                known(Estimate::default(), Size::exactly(size))
            }
            Node::Ident(name) => {
                let local = self.locals.iter().rev().find(|(n, _)| n == name).map(|(_, size)| size.clone());
                let variable = || self.env.variable(name.strip_prefix('.').unwrap_or(name));
                let size = local.or_else(|| variable().map(|(_, size)| size.clone()));
                known(Estimate::exactly(1), size.unwrap_or_default())
            }
            Node::Select { operand, field, test, .. } => {
                let of = self.of(operand);
                let size = if *test { Size::exactly(1) } else { field_size(&operand.ty, &of.size, field) };
                known(of.cost.plus(Estimate::exactly(1)), size)
            }
            Node::Call { name, target, args, .. } => {
                let all: Vec<Known> =
                    target.iter().map(|t| &**t).chain(args).map(|arg| self.of(arg)).collect();
                let first = target.as_deref().or(args.first());
                call(name, &all, first.map_or(&Type::Dyn, |e| &e.ty), last_pattern(args))
            }
            Node::And(left, right) | Node::Or(left, right) => {
                let (left, right) = (self.of(left), self.of(right));
                let max = left.cost.max.saturating_add(right.cost.max);
                known(Estimate { min: left.cost.min, max }, Size::exactly(1))
            }
            Node::Choice(parts) => {
                let [condition, yes, no] = [0, 1, 2].map(|i| self.of(&parts[i]));
                known(condition.cost.plus(yes.cost.either(no.cost)), yes.size.either(&no.size))
            }
            Node::List(items) => {
                let all: Vec<Known> = items.iter().map(|item| self.of(&item.expr)).collect();
                let mut size = Size::exactly(u64::try_from(items.len()).unwrap_or(u64::MAX));
                size.inner = all.iter().map(|k| k.size.clone()).reduce(|a, b| a.either(&b)).map(Arc::new);
                known(sum(&all).plus(Estimate::exactly(10)), size)
            }
            Node::Map(entries) => {
                let parts = entries.iter().flat_map(|(key, item)| [key, &item.expr]);
                let all: Vec<Known> = parts.map(|part| self.of(part)).collect();
                let size = Size::exactly(u64::try_from(entries.len()).unwrap_or(u64::MAX));
                known(sum(&all).plus(Estimate::exactly(30)), size)
            }
            Node::Struct(_, fields) => {
                let all: Vec<Known> = fields.iter().map(|(_, item)| self.of(&item.expr)).collect();
                known(sum(&all).plus(Estimate::exactly(40)), Size::default())
            }
            Node::Macro(each) => self.walk(each),
        }
    }

    fn walk(&mut self, each: &'e Macro) -> Known {
        let range = self.of(&each.range);
        let count = range.size.cost();
        let is_map = matches!(each.range.ty, Type::Map(..));
        let key =
            if is_map { range.size.key.as_deref().cloned().unwrap_or_default() } else { Size::exactly(1) };
        let sizes = match (each.kind, each.vars.len(), is_map) {
            (Kind::Bind | Kind::OptMap | Kind::OptFlatMap, ..) => vec![range.size.clone()],
            (_, 2, _) => vec![key, range.size.inner()],
            (_, _, true) => vec![key],
            _ => vec![range.size.inner()],
        };
        let depth = self.locals.len();
        self.locals.extend(each.vars.iter().map(String::as_str).zip(sizes));
        let filter = each.filter.as_ref().map(|filter| self.of(filter));
        let result = each.result.as_ref().map(|result| self.of(result));
        self.locals.truncate(depth);
        let own = |known: &Option<Known>| known.as_ref().map(|k| k.cost).unwrap_or_default();
        let (filter_cost, result_cost) = (own(&filter), own(&result));
        let grown = Estimate { min: 0, max: 12 };
        let (start, step) = match each.kind {
            Kind::Bind | Kind::OptMap | Kind::OptFlatMap => {
                let cost = range.cost.plus(result_cost).plus(Estimate::exactly(1));
                return Known { cost, size: result.map(|r| r.size).unwrap_or_default() };
            }
            Kind::All => (0, Estimate { min: 3, max: 3_u64.saturating_add(filter_cost.max) }),
            Kind::Exists => (0, Estimate { min: 4, max: 4_u64.saturating_add(filter_cost.max) }),
            Kind::ExistsOne => (0, filter_cost.plus(Estimate { min: 1, max: 2 })),
            Kind::TransformMap | Kind::TransformMapEntry => (30, filter_cost.plus(result_cost).plus(grown)),
            _ => (10, filter_cost.plus(result_cost).plus(grown)),
        };
        let cost = range.cost.plus(count.times(step)).plus(Estimate::exactly(start + 1));
        let size = match each.kind {
            Kind::All | Kind::Exists | Kind::ExistsOne => Size::exactly(1),
            Kind::Filter => Size { min: 0, ..range.size },
            _ => Size { key: None, inner: result.map(|r| Arc::new(r.size)), ..range.size },
        };
        Known { cost, size }
    }
}

fn sum(all: &[Known]) -> Estimate {
    all.iter().fold(Estimate::default(), |sum, one| sum.plus(one.cost))
}

fn field_size(of: &Type, size: &Size, field: &str) -> Size {
    match of {
        Type::Object(object) => object.fields.get(field).map(|f| f.size.clone()).unwrap_or_default(),
        Type::Map(..) => size.inner(),
        Type::Optional(inner) => field_size(inner, size, field),
        _ => Size::default(),
    }
}

/// The length of a pattern that is written down.
fn last_pattern(args: &[Expr]) -> Option<u64> {
    match args.last().map(|arg| &arg.node) {
        Some(Node::Const(Value::Text(text))) => u64::try_from(text.len()).ok(),
        _ => None,
    }
}

fn is_scalar(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Null | Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Duration | Type::Timestamp
    )
}

fn call(name: &str, args: &[Known], ty: &Type, pattern: Option<u64>) -> Known {
    let args_cost = sum(args);
    let nothing = Size::default();
    let (first, second) =
        (args.first().map_or(&nothing, |k| &k.size), args.get(1).map_or(&nothing, |k| &k.size));
    let one = Estimate::exactly(1);
    let pairs = first.cost().times(second.cost());
    let (cost, size) = match name {
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            let of = |size: &Size| if is_scalar(ty) { 1 } else { size.max };
            let least = Estimate { min: first.min.min(second.min), max: of(first).min(of(second)) };
            (least.tenth(), Size::exactly(1))
        }
        "_+_" if matches!(ty, Type::String | Type::Bytes) => {
            let size = first.plus(second);
            (size.cost().tenth(), size)
        }
        "_+_" if matches!(ty, Type::List(_)) => {
            let size = first.plus(second);
            (size.cost(), size)
        }
        "@in" => match args.get(1) {
            Some(_) if matches!(ty, Type::Dyn) || second.inner.is_some() || second.max < u64::MAX => {
                (second.cost(), Size::exactly(1))
            }
            _ => (one, Size::exactly(1)),
        },
        "_[_]" | "_[?_]" => (one, first.inner()),
        "startsWith" | "endsWith" => (second.cost().tenth(), Size::exactly(1)),
        "contains" if matches!(ty, Type::String) => {
            (first.cost().tenth().times(second.cost().tenth()), Size::exactly(1))
        }
        "matches" | "find" | "findAll" => {
            let longer = Size {
                min: first.min.saturating_add(1),
                max: first.max.saturating_add(1),
                ..nothing.clone()
            };
            let rule = pattern.map_or_else(|| second.cost(), Estimate::exactly);
            let rule = Estimate { min: rule.min.div_ceil(4), max: part(rule.max, 4) };
            let size = if name == "matches" { Size::exactly(1) } else { Size { min: 0, ..first.clone() } };
            (longer.cost().tenth().times(rule), size)
        }
        "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" | "slice" | "flatten" | "reverse"
            if matches!(ty, Type::List(_)) =>
        {
            (first.cost().plus(one), first.clone())
        }
        "sort" | "distinct" => (first.cost().times(first.cost()), first.clone()),
        "sets.contains" | "sets.intersects" => (pairs.plus(one), Size::exactly(1)),
        "sets.equivalent" => (pairs.plus(pairs).plus(one), Size::exactly(1)),
        "replace" => {
            let grown = args.get(2).map_or(&nothing, |k| &k.size);
            let max = first.max.saturating_mul(grown.max.saturating_add(1));
            (first.cost().tenth(), Size { min: 0, max, ..nothing.clone() })
        }
        "lowerAscii" | "upperAscii" | "trim" | "substring" | "split" | "join" | "url" | "isURL" | "ip"
        | "isIP" | "cidr" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" | "bytes"
        | "string" | "format" | "strings.quote" => (first.cost().tenth().plus(one), first.clone()),
        "size" => (one, Size::exactly(1)),
        "check" => (Estimate::exactly(350_000), Size::exactly(1)),
        "orValue" | "or" => (one, first.either(second)),
        "value" | "optional.of" | "optional.ofNonZeroValue" | "dyn" => (one, first.clone()),
        _ => (one, Size::default()),
    };
    Known { cost: args_cost.plus(cost), size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_how_large_things_may_be() {
        let lists = |max: u64| {
            Env::default().sized("l", Type::list(Type::String), Size::most(max).of(Size::most(10)))
        };
        let cost = |env: &Env, source: &str| env.estimate(&env.compile(source).unwrap()).max;
        let pairs = "l.all(x, l.all(y, x == y))";
        let (small, large) = (cost(&lists(10), pairs), cost(&lists(1000), pairs));
        assert!(small < 2_000 && large > 5_000_000, "{small} {large}");
        assert_eq!(cost(&lists(u64::MAX), pairs), u64::MAX);
        assert_eq!(cost(&lists(10), "1 + 1 == 2"), 2);
        assert!(cost(&lists(10), "'a' in l") < 20);
    }
}
