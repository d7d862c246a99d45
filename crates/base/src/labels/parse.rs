//! The grammar of a label selector's text: a lexer with one token of lookahead and a recursive-descent parser.
//!
//! Invariant: the same texts are accepted and refused as by `k8s.io/apimachinery/pkg/labels.Parser`, with its words.

use std::collections::BTreeSet;

use super::{Operator, ParseError, Requirement, key_errors, value_errors};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Word,
    Comma,
    Open,
    Close,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
    End,
    Bad,
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

type Result<T> = std::result::Result<T, ParseError>;

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(ParseError(message.into()))
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>> {
    let mut parser = Parser { tokens: lex(text), at: 0 };
    let mut found = Vec::new();
    loop {
        match parser.peek() {
            (Token::Word | Token::Not, _) => {
                let requirement = parser
                    .requirement()
                    .map_err(|e| ParseError(format!("unable to parse requirement: {e}")))?;
                found.push(requirement);
                match parser.take() {
                    (Token::End, _) => return Ok(found),
                    (Token::Comma, _) => {
                        let (next, literal) = parser.peek();
                        if next != Token::Word && next != Token::Not {
                            return fail(format!("found '{literal}', expected: identifier after ','"));
                        }
                    }
                    (_, literal) => {
                        return fail(format!("found '{literal}', expected: ',' or 'end of string'"));
                    }
                }
            }
            (Token::End, _) => return Ok(found),
            (_, literal) => {
                return fail(format!("found '{literal}', expected: !, identifier, or 'end of string'"));
            }
        }
    }
}

fn lex(text: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = match rest.as_bytes() {
            [b',', ..] => (Token::Comma, 1),
            [b'(', ..] => (Token::Open, 1),
            [b')', ..] => (Token::Close, 1),
            [b'!', b'=', ..] => (Token::NotEquals, 2),
            [b'!', ..] => (Token::Not, 1),
            [b'=', b'=', ..] => (Token::Equals, 2),
            [b'=', ..] => (Token::Equals, 1),
            [b'>', ..] => (Token::Greater, 1),
            [b'<', ..] => (Token::Less, 1),
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || "=!(),><".contains(c)).unwrap_or(rest.len());
                if end == 0 { (Token::Bad, rest.len()) } else { (Token::Word, end) }
            }
        };
        tokens.push((token, &rest[..length]));
        rest = rest[length..].trim_start();
    }
    tokens.push((Token::End, ""));
    tokens
}

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token, &'a str) {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement> {
        let mut token = self.take();
        let negated = token.0 == Token::Not;
        if negated {
            token = self.take();
        }
        let (Token::Word, key) = token else {
            return fail(format!("found '{}', expected: identifier", token.1));
        };
        if let Some(problem) = key_errors(key).first() {
            return fail(format!("<nil>: Invalid value: {key:?}: {problem}"));
        }
        if negated {
            return Ok(Requirement { key: key.into(), operator: Operator::NotExists });
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(Requirement { key: key.into(), operator: Operator::Exists });
        }
        let operator = match self.take() {
            (Token::Word, "in") => Operator::In(self.values()?),
            (Token::Word, "notin") => Operator::NotIn(self.values()?),
            (Token::Equals, _) => Operator::In(BTreeSet::from([self.exact()?.to_owned()])),
            (Token::NotEquals, _) => Operator::NotIn(BTreeSet::from([self.exact()?.to_owned()])),
            (Token::Greater, _) => Operator::Greater(self.number()?),
            (Token::Less, _) => Operator::Less(self.number()?),
            (_, literal) => {
                return fail(format!("found '{literal}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        check_values(key, &operator)?;
        Ok(Requirement { key: key.into(), operator })
    }

    fn values(&mut self) -> Result<BTreeSet<String>> {
        let (token, literal) = self.take();
        if token != Token::Open {
            return fail(format!("found '{literal}' expected: '('"));
        }
        let mut found = BTreeSet::new();
        let mut wants_value = true;
        loop {
            match self.take() {
                (Token::Word, word) if wants_value => {
                    found.insert(word.to_owned());
                    wants_value = false;
                }
                // An empty value before, between or after commas counts as "".
                (Token::Comma, _) => {
                    if wants_value {
                        found.insert(String::new());
                    }
                    if self.peek().0 == Token::Close {
                        found.insert(String::new());
                    }
                    wants_value = true;
                }
                (Token::Close, _) => {
                    if found.is_empty() {
                        found.insert(String::new());
                    }
                    return Ok(found);
                }
                (_, literal) if wants_value => {
                    return fail(format!("found '{literal}', expected: ',', ')' or identifier"));
                }
                (_, literal) => return fail(format!("found '{literal}', expected: ',' or ')'")),
            }
        }
    }

    fn exact(&mut self) -> Result<&'a str> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok("");
        }
        match self.take() {
            (Token::Word, word) => Ok(word),
            (_, literal) => fail(format!("found '{literal}', expected: identifier")),
        }
    }

    fn number(&mut self) -> Result<i64> {
        let text = self.exact()?;
        text.parse().or_else(|_| {
            fail(format!(
                "values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ))
        })
    }
}

fn check_values(key: &str, operator: &Operator) -> Result<()> {
    let (Operator::In(values) | Operator::NotIn(values)) = operator else { return Ok(()) };
    if values.is_empty() {
        return fail("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
    }
    for (index, value) in values.iter().enumerate() {
        if let Some(problem) = value_errors(value).first() {
            return fail(format!("values[{index}][{key}]: Invalid value: {value:?}: {problem}"));
        }
    }
    Ok(())
}
