//! From text to a tree; what is wrong is told as cel-go's parser tells it.
//!
//! Invariant: no text nests deeper than [`MAX_NESTED`], and no tree is deeper than [`MAX_DEPTH`], so nothing that walks a tree runs out of stack. Absent: recovery
//! after an error, so one error is told.

use crate::ast::{Expr, Item, Node};
use crate::lex::{Issue, Token, What, tokens};
use crate::macros::expand;
use crate::value::Value;
use crate::{MAX_DEPTH, MAX_NESTED};

const BEGINS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, \
                      IDENTIFIER}";
/// Words that no variable can have as its name, beside the literals and `in`.
pub const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const RELATIONS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "in"];

/// Parses a whole expression.
pub(crate) fn parse(source: &str) -> Result<Expr, Issue> {
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.next() {
        Token { what: What::End, .. } => Ok(expr),
        Token { at, text, .. } => {
            let alone = matches!(parser.peek().what, What::End);
            let what = if alone { "extraneous" } else { "mismatched" };
            Err(Issue::syntax(at, format!("{what} input '{text}' expecting <EOF>")))
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek().what, What::Sign) && self.peek().text == sign
    }

    /// Takes the sign if it is next, and says where it stood.
    fn take(&mut self, sign: &str) -> Option<usize> {
        self.is(sign).then(|| self.next().at)
    }

    fn need(&mut self, sign: &str) -> Result<usize, Issue> {
        let Token { at, text, .. } = self.peek().clone();
        self.take(sign)
            .ok_or_else(|| Issue::syntax(at, format!("mismatched input '{text}' expecting '{sign}'")))
    }

    fn expr(&mut self) -> Result<Expr, Issue> {
        self.depth += 1;
        if self.depth > MAX_NESTED {
            return Err(too_deep(self.peek().at, MAX_NESTED));
        }
        let condition = self.either()?;
        let expr = match self.take("?") {
            None => condition,
            Some(at) => {
                let yes = self.either()?;
                self.need(":")?;
                let no = self.expr()?;
                Expr::new(at, Node::Choice(Box::new([condition, yes, no])))
            }
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn either(&mut self) -> Result<Expr, Issue> {
        let mut terms = vec![self.both()?];
        let mut signs = Vec::new();
        while let Some(at) = self.take("||") {
            signs.push(at);
            terms.push(self.both()?);
        }
        Ok(balanced(terms, &signs, &Node::Or))
    }

    fn both(&mut self) -> Result<Expr, Issue> {
        let mut terms = vec![self.relation()?];
        let mut signs = Vec::new();
        while let Some(at) = self.take("&&") {
            signs.push(at);
            terms.push(self.relation()?);
        }
        Ok(balanced(terms, &signs, &Node::And))
    }

    /// Operations of one rank, from the left.
    fn left(
        &mut self,
        signs: &[&str],
        name: fn(&str) -> String,
        operand: fn(&mut Self) -> Result<Expr, Issue>,
    ) -> Result<Expr, Issue> {
        let mut left = operand(self)?;
        while let Some(sign) = signs.iter().find(|sign| self.is(sign)) {
            let at = self.next().at;
            if left.deep > MAX_DEPTH {
                return Err(too_deep(at, MAX_DEPTH));
            }
            let right = operand(self)?;
            left = Expr::call(at, &name(sign), vec![left, right]);
        }
        Ok(left)
    }

    fn relation(&mut self) -> Result<Expr, Issue> {
        let name = |sign: &str| if sign == "in" { "@in".to_owned() } else { format!("_{sign}_") };
        self.left(RELATIONS, name, Self::sum)
    }

    fn sum(&mut self) -> Result<Expr, Issue> {
        self.left(&["+", "-"], |sign| format!("_{sign}_"), Self::product)
    }

    fn product(&mut self) -> Result<Expr, Issue> {
        self.left(&["*", "/", "%"], |sign| format!("_{sign}_"), Self::unary)
    }

    fn unary(&mut self) -> Result<Expr, Issue> {
        for (sign, name) in [("!", "!_"), ("-", "-_")] {
            let Some(at) = self.take(sign) else { continue };
            if sign == "-"
                && let Some(number) = self.negative()
            {
                return self.members(number);
            }
            let mut times = 1;
            while self.take(sign).is_some() {
                times += 1;
            }
            let primary = self.primary()?;
            let operand = self.members(primary)?;
            return Ok(if times % 2 == 0 { operand } else { Expr::call(at, name, vec![operand]) });
        }
        let primary = self.primary()?;
        self.members(primary)
    }

    /// A number with the sign that was before it.
    fn negative(&mut self) -> Option<Expr> {
        let What::Literal(value) = &self.peek().what else { return None };
        let value = match value {
            Value::Int(n) => Value::Int(-n),
            Value::Double(n) => Value::Double(-n),
            Value::Uint(n) if *n == 1 << 63 && !self.peek().text.ends_with(['u', 'U']) => {
                Value::Int(i64::MIN)
            }
            _ => return None,
        };
        let token = self.next();
        Some(Expr::new(token.at.saturating_sub(1), Node::Const(value)))
    }

    /// What follows a value: fields, calls and indexes.
    fn members(&mut self, mut expr: Expr) -> Result<Expr, Issue> {
        loop {
            if expr.deep > MAX_DEPTH {
                return Err(too_deep(self.peek().at, MAX_DEPTH));
            }
            if let Some(at) = self.take(".") {
                expr = self.member(expr, at)?;
            } else if let Some(at) = self.take("[") {
                let optional = self.take("?").is_some();
                let index = self.expr()?;
                self.need("]")?;
                let name = if optional { "_[?_]" } else { "_[_]" };
                expr = Expr::call(at, name, vec![expr, index]);
            } else {
                return Ok(expr);
            }
        }
    }

    fn member(&mut self, operand: Expr, at: usize) -> Result<Expr, Issue> {
        let optional = self.take("?").is_some();
        let Token { at: name_at, text: field, what } = self.next();
        if !matches!(what, What::Ident) {
            let viable = if matches!(what, What::End) { ".".to_owned() } else { format!(".{field}") };
            return Err(Issue::syntax(name_at, format!("no viable alternative at input '{viable}'")));
        }
        if !optional && let Some(open) = self.take("(") {
            let args = self.args()?;
            return expand(open, &field, Some(operand), args);
        }
        Ok(Expr::new(at, Node::Select { operand: Box::new(operand), field, test: false, optional }))
    }

    fn args(&mut self) -> Result<Vec<Expr>, Issue> {
        let mut args = Vec::new();
        if self.take(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.take(",").is_none() {
                self.need(")")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Issue> {
        let token = self.next();
        let at = token.at;
        let constant = |value| Ok(Expr::new(at, Node::Const(value)));
        match (token.what, token.text.as_str()) {
            (What::Literal(Value::Uint(n)), text) if !text.ends_with(['u', 'U']) && n == 1 << 63 => {
                Err(Issue { at, what: "invalid int literal".into() })
            }
            (What::Literal(value), _) => constant(value),
            (What::Sign, "true") => constant(Value::Bool(true)),
            (What::Sign, "false") => constant(Value::Bool(false)),
            (What::Sign, "null") => constant(Value::Null),
            (What::Sign, "(") => {
                let inner = self.expr()?;
                self.need(")")?;
                Ok(inner)
            }
            (What::Sign, "[") => self.list(at),
            (What::Sign, "{") => self.map(at),
            (What::Sign, ".") => self.name(true),
            (What::Ident, _) => {
                self.at -= 1;
                self.name(false)
            }
            (_, text) => Err(Issue::syntax(at, format!("mismatched input '{text}' expecting {BEGINS}"))),
        }
    }

    fn name(&mut self, rooted: bool) -> Result<Expr, Issue> {
        let Token { at, text, what } = self.next();
        if !matches!(what, What::Ident) {
            return Err(Issue::syntax(at, format!("mismatched input '{text}' expecting IDENTIFIER")));
        }
        if RESERVED.contains(&text.as_str()) {
            return Err(Issue { at, what: format!("reserved identifier: {text}") });
        }
        if let Some(end) = self.type_name() {
            let mut name = text;
            while self.at < end {
                name += &self.next().text;
            }
            let open = self.need("{")?;
            return self.structure(open, name);
        }
        let name = if rooted { format!(".{text}") } else { text };
        if let Some(open) = self.take("(") {
            let args = self.args()?;
            return expand(open, &name, None, args);
        }
        Ok(Expr::new(at, Node::Ident(name)))
    }

    /// Where a name ends that is followed by the fields of an object.
    fn type_name(&self) -> Option<usize> {
        let mut end = self.at;
        let sign = |at: usize, sign: &str| {
            self.tokens.get(at).is_some_and(|t| matches!(t.what, What::Sign) && t.text == sign)
        };
        let ident = |at: usize| self.tokens.get(at).is_some_and(|t| matches!(t.what, What::Ident));
        while sign(end, ".") && ident(end + 1) {
            end += 2;
        }
        sign(end, "{").then_some(end)
    }

    fn item(&mut self) -> Result<Item, Issue> {
        Ok(Item { optional: false, expr: self.expr()? })
    }

    fn list(&mut self, at: usize) -> Result<Expr, Issue> {
        let mut items = Vec::new();
        while !self.is("]") {
            let optional = self.take("?").is_some();
            items.push(Item { optional, ..self.item()? });
            if self.take(",").is_none() {
                break;
            }
        }
        self.need("]")?;
        Ok(Expr::new(at, Node::List(items)))
    }

    fn map(&mut self, at: usize) -> Result<Expr, Issue> {
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            self.need(":")?;
            entries.push((key, Item { optional, ..self.item()? }));
            if self.take(",").is_none() {
                break;
            }
        }
        self.need("}")?;
        Ok(Expr::new(at, Node::Map(entries)))
    }

    fn structure(&mut self, at: usize, name: String) -> Result<Expr, Issue> {
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let Token { at, text, what } = self.next();
            if !matches!(what, What::Ident) {
                return Err(Issue::syntax(at, format!("mismatched input '{text}' expecting IDENTIFIER")));
            }
            self.need(":")?;
            fields.push((text, Item { optional, ..self.item()? }));
            if self.take(",").is_none() {
                break;
            }
        }
        self.need("}")?;
        Ok(Expr::new(at, Node::Struct(name, fields)))
    }
}

fn too_deep(at: usize, most: usize) -> Issue {
    Issue { at, what: format!("expression recursion limit exceeded: {most}") }
}

/// A chain of one operation as a tree that is as flat as can be, in order.
fn balanced(mut terms: Vec<Expr>, signs: &[usize], make: &dyn Fn(Box<Expr>, Box<Expr>) -> Node) -> Expr {
    if terms.len() == 1 {
        return terms.remove(0);
    }
    let middle = terms.len() / 2;
    let right = terms.split_off(middle);
    let at = signs[middle - 1];
    let left = balanced(terms, &signs[..middle - 1], make);
    let right = balanced(right, &signs[middle..], make);
    Expr::new(at, make(Box::new(left), Box::new(right)))
}
