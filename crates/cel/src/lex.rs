//! The tokens of an expression.
//!
//! Invariant: every token knows where it begins, in characters. Absent: what they mean together (`parse`).

use crate::value::Value;

/// A token and where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) at: usize,
    /// As it stands there.
    pub(crate) text: String,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Ident,
    /// `true`, `false`, `null`, `in` and all signs.
    Sign,
    Literal(Value<'static>),
    End,
}

/// Where something is wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(crate) at: usize,
    pub(crate) what: String,
}

impl Issue {
    pub(crate) fn syntax(at: usize, what: impl std::fmt::Display) -> Self {
        Self { at, what: format!("Syntax error: {what}") }
    }
}

const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// All tokens, the last of which is the end.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, Issue> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let token = lexer.token()?;
        let end = matches!(token.what, What::End);
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip_space(&mut self) {
        loop {
            match self.peek(0) {
                ' ' | '\t' | '\r' | '\n' | '\u{c}' => self.at += 1,
                '/' if self.peek(1) == '/' => {
                    while self.at < self.chars.len() && self.peek(0) != '\n' {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn made(&self, at: usize, what: What) -> Token {
        Token { at, text: self.chars[at..self.at].iter().collect(), what }
    }

    fn token(&mut self) -> Result<Token, Issue> {
        let at = self.at;
        if at >= self.chars.len() {
            return Ok(Token { at, text: "<EOF>".into(), what: What::End });
        }
        let first = self.peek(0);
        if first.is_ascii_digit() || first == '.' && self.peek(1).is_ascii_digit() {
            let value = self.number()?;
            return Ok(self.made(at, What::Literal(value)));
        }
        if let Some(value) = self.quoted()? {
            return Ok(self.made(at, What::Literal(value)));
        }
        if first.is_ascii_alphabetic() || first == '_' {
            while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
                self.at += 1;
            }
            let mut token = self.made(at, What::Ident);
            if matches!(token.text.as_str(), "true" | "false" | "null" | "in") {
                token.what = What::Sign;
            }
            return Ok(token);
        }
        let is = |sign: &&&str| sign.chars().enumerate().all(|(i, c)| self.peek(i) == c);
        match SIGNS.iter().find(is) {
            Some(sign) => {
                self.at += sign.len();
                Ok(self.made(at, What::Sign))
            }
            None => Err(Issue::syntax(at, format!("token recognition error at: '{first}'"))),
        }
    }

    fn number(&mut self) -> Result<Value<'static>, Issue> {
        let at = self.at;
        if self.peek(0) == '0' && self.peek(1) == 'x' {
            self.at += 2;
            let digits = self.run(|c| c.is_ascii_hexdigit());
            if self.peek(0) == 'u' || self.peek(0) == 'U' {
                self.at += 1;
                return u64::from_str_radix(&digits, 16).map(Value::Uint).map_err(|_| bad(at, "uint"));
            }
            return i64::from_str_radix(&digits, 16).map(Value::Int).map_err(|_| bad(at, "int"));
        }
        let mut text = self.run(|c| c.is_ascii_digit());
        let mut whole = true;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            whole = false;
            self.at += 1;
            text.push('.');
            text += &self.run(|c| c.is_ascii_digit());
        }
        let signed = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + signed).is_ascii_digit() {
            whole = false;
            (0..=signed).for_each(|_| {
                text.push(self.peek(0));
                self.at += 1;
            });
            text += &self.run(|c| c.is_ascii_digit());
        }
        if !whole {
            return text.parse().map(Value::Double).map_err(|_| bad(at, "double"));
        }
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return text.parse().map(Value::Uint).map_err(|_| bad(at, "uint"));
        }
        // The least of all is written with a sign, which the parser puts before it.
        match text.parse::<i64>() {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) if text == "9223372036854775808" => Ok(Value::Uint(1 << 63)),
            Err(_) => Err(bad(at, "int")),
        }
    }

    fn run(&mut self, of: impl Fn(char) -> bool) -> String {
        let at = self.at;
        while of(self.peek(0)) {
            self.at += 1;
        }
        self.chars[at..self.at].iter().collect()
    }

    fn quoted(&mut self) -> Result<Option<Value<'static>>, Issue> {
        let (at, mut raw, mut bytes, mut ahead) = (self.at, false, false, 0);
        while ahead < 2 {
            match self.peek(ahead) {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => break,
            }
            ahead += 1;
        }
        let quote = self.peek(ahead);
        if !matches!(quote, '"' | '\'') {
            return Ok(None);
        }
        let triple = self.peek(ahead + 1) == quote && self.peek(ahead + 2) == quote;
        self.at += ahead + if triple { 3 } else { 1 };
        let mut out = Vec::new();
        loop {
            let c = self.peek(0);
            let closes = c == quote && (!triple || (self.peek(1) == quote && self.peek(2) == quote));
            if closes {
                self.at += if triple { 3 } else { 1 };
                break;
            }
            if self.at >= self.chars.len() || c == '\n' && !triple {
                let rest: String = self.chars[at..self.at].iter().collect();
                return Err(Issue::syntax(at, format!("token recognition error at: '{rest}'")));
            }
            self.at += 1;
            if c == '\\' && !raw {
                self.escape(&mut out, bytes)?;
            } else {
                out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            }
        }
        if bytes {
            return Ok(Some(Value::bytes(out)));
        }
        String::from_utf8(out).map(|text| Some(Value::text(text))).map_err(|_| bad(at, "string"))
    }

    fn escape(&mut self, out: &mut Vec<u8>, bytes: bool) -> Result<(), Issue> {
        let at = self.at;
        let c = self.peek(0);
        self.at += 1;
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => u8::try_from(c).unwrap_or_default(),
            _ => 0,
        };
        if simple != 0 {
            out.push(simple);
            return Ok(());
        }
        let (digits, radix, is_byte) = match c {
            'x' | 'X' => (2, 16, true),
            'u' => (4, 16, false),
            'U' => (8, 16, false),
            '0'..='3' => {
                self.at -= 1;
                (3, 8, true)
            }
            _ => return Err(bad(at, "string")),
        };
        let text: String = (0..digits).map(|i| self.peek(i)).collect();
        self.at += digits;
        let code = u32::from_str_radix(&text, radix).map_err(|_| bad(at, "string"))?;
        if is_byte && bytes {
            out.push(u8::try_from(code).map_err(|_| bad(at, "bytes"))?);
            return Ok(());
        }
        let c = char::from_u32(code).ok_or_else(|| bad(at, "string"))?;
        out.extend(c.encode_utf8(&mut [0; 4]).bytes());
        Ok(())
    }
}

fn bad(at: usize, what: &str) -> Issue {
    Issue { at, what: format!("invalid {what} literal") }
}
