//! Calls that are no calls: `has`, and what walks over a list or map.
//!
//! Invariant: a call of such a name with another number of arguments is an ordinary call.

use crate::ast::{Expr, Kind, Macro, Node};
use crate::lex::Issue;

/// A call, or what it stands for.
pub(crate) fn expand(at: usize, name: &str, target: Option<Expr>, args: Vec<Expr>) -> Result<Expr, Issue> {
    let Some(target) = target else {
        return match (name, args.len()) {
            ("has", 1) => has(at, args),
            _ => Ok(Expr::call(at, name, args)),
        };
    };
    if matches!(&target.node, Node::Ident(name) if name == "cel") && name == "bind" && args.len() == 3 {
        return bind(at, args);
    }
    let Some(kind) = kind(name, args.len()) else {
        let target = Some(Box::new(target));
        return Ok(Expr::new(at, Node::Call { name: name.to_owned(), target, args, run: None }));
    };
    walk(at, kind, target, args)
}

fn kind(name: &str, args: usize) -> Option<Kind> {
    Some(match (name, args) {
        ("all", 2 | 3) => Kind::All,
        ("exists", 2 | 3) => Kind::Exists,
        ("exists_one", 2) | ("existsOne", 2 | 3) => Kind::ExistsOne,
        ("filter", 2) => Kind::Filter,
        ("map", 2 | 3) => Kind::Map,
        ("transformList", 3 | 4) => Kind::TransformList,
        ("transformMap", 3 | 4) => Kind::TransformMap,
        ("transformMapEntry", 3 | 4) => Kind::TransformMapEntry,
        ("optMap", 2) => Kind::OptMap,
        ("optFlatMap", 2) => Kind::OptFlatMap,
        _ => return None,
    })
}

fn has(at: usize, mut args: Vec<Expr>) -> Result<Expr, Issue> {
    let arg = args.remove(0);
    match arg.node {
        Node::Select { operand, field, optional: false, .. } => {
            Ok(Expr::new(at, Node::Select { operand, field, test: true, optional: false }))
        }
        _ => Err(Issue { at: arg.at, what: "invalid argument to has() macro".into() }),
    }
}

fn bind(at: usize, mut args: Vec<Expr>) -> Result<Expr, Issue> {
    let result = args.pop();
    let range = args.pop().unwrap_or_else(|| Expr::new(at, Node::List(Vec::new())));
    let vars = vec![variable(args.first())?];
    Ok(Expr::new(at, Node::Macro(Box::new(Macro { kind: Kind::Bind, range, vars, filter: None, result }))))
}

fn variable(arg: Option<&Expr>) -> Result<String, Issue> {
    match arg {
        Some(Expr { node: Node::Ident(name), .. }) if !name.starts_with('.') => Ok(name.clone()),
        other => Err(Issue { at: other.map_or(0, |e| e.at), what: "argument must be a simple name".into() }),
    }
}

fn walk(at: usize, kind: Kind, range: Expr, args: Vec<Expr>) -> Result<Expr, Issue> {
    let two = match kind {
        Kind::All | Kind::Exists | Kind::ExistsOne => args.len() == 3,
        Kind::TransformList | Kind::TransformMap | Kind::TransformMapEntry => true,
        _ => false,
    };
    let names = if two { 2 } else { 1 };
    let vars = args[..names].iter().map(|arg| variable(Some(arg))).collect::<Result<Vec<_>, _>>()?;
    if two && vars[0] == vars[1] {
        return Err(Issue { at: args[1].at, what: format!("duplicate variable name: {}", vars[1]) });
    }
    let mut rest = args.into_iter().skip(names);
    let (first, second) = (rest.next(), rest.next());
    let (filter, result) = match kind {
        Kind::All | Kind::Exists | Kind::ExistsOne | Kind::Filter => (first, None),
        _ if second.is_some() => (first, second),
        _ => (None, first),
    };
    Ok(Expr::new(at, Node::Macro(Box::new(Macro { kind, range, vars, filter, result }))))
}
