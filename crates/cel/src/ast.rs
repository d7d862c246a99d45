//! The tree of an expression: as it is parsed, and with what the check found out about each node.

use crate::functions::Function;
use crate::types::Type;
use crate::value::Value;

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    /// Where it stands, in characters: of an operation its operator or parenthesis.
    pub(crate) at: usize,
    /// Its type, once checked.
    pub(crate) ty: Type,
    pub(crate) node: Node,
    /// How many nodes are on the longest way down from here.
    pub(crate) deep: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Const(Value<'static>),
    Ident(String),
    /// `operand.field`, `operand.?field`, `has(operand.field)`.
    Select {
        operand: Box<Expr>,
        field: String,
        test: bool,
        optional: bool,
    },
    Call {
        name: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
        run: Option<Function>,
    },
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Choice(Box<[Expr; 3]>),
    List(Vec<Item>),
    Map(Vec<(Expr, Item)>),
    Struct(String, Vec<(String, Item)>),
    Macro(Box<Macro>),
}

/// A part of a literal; with `?` it is left out where its value is missing.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) expr: Expr,
    pub(crate) optional: bool,
}

/// What walks over a range.
#[derive(Debug, Clone)]
pub(crate) struct Macro {
    pub(crate) kind: Kind,
    pub(crate) range: Expr,
    /// The element, or index and element (key and value).
    pub(crate) vars: Vec<String>,
    /// What must hold, or chooses.
    pub(crate) filter: Option<Expr>,
    /// What comes of an element.
    pub(crate) result: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    TransformList,
    TransformMap,
    TransformMapEntry,
    /// `optMap` and `optFlatMap`: the range is what may be missing.
    OptMap,
    OptFlatMap,
    /// `cel.bind`: the range is what is named.
    Bind,
}

impl Expr {
    pub(crate) fn new(at: usize, node: Node) -> Self {
        let mut expr = Self { at, ty: Type::Dyn, node, deep: 0 };
        let mut deep = 0;
        each_part(&mut expr, &mut |part| deep = deep.max(part.deep));
        expr.deep = deep + 1;
        expr
    }

    pub(crate) fn call(at: usize, name: &str, args: Vec<Self>) -> Self {
        Self::new(at, Node::Call { name: name.to_owned(), target: None, args, run: None })
    }
}

/// Every node below this one.
pub(crate) fn each_part(expr: &mut Expr, see: &mut dyn FnMut(&mut Expr)) {
    match &mut expr.node {
        Node::Const(_) | Node::Ident(_) => {}
        Node::Select { operand, .. } => see(operand),
        Node::Call { target, args, .. } => target.iter_mut().map(|t| &mut **t).chain(args).for_each(see),
        Node::And(left, right) | Node::Or(left, right) => {
            see(left);
            see(right);
        }
        Node::Choice(parts) => parts.iter_mut().for_each(see),
        Node::List(items) => items.iter_mut().for_each(|item| see(&mut item.expr)),
        Node::Map(entries) => {
            for (key, item) in entries {
                see(key);
                see(&mut item.expr);
            }
        }
        Node::Struct(_, fields) => fields.iter_mut().for_each(|(_, item)| see(&mut item.expr)),
        Node::Macro(each) => {
            see(&mut each.range);
            each.filter.iter_mut().chain(&mut each.result).for_each(see);
        }
    }
}
