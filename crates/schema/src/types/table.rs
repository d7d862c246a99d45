//! The table's text form and its form in memory.
//!
//! Text, one line each (names are short; `P` lines say what a package's short name stands for):
//! `P core.v1 io.k8s.api.core.v1`, `T core.v1.Pod gvk=/v1/Pod`, then its fields
//! `NAME NUMBERS TYPE [MARK …]`, where NUMBERS is `2`, `2.1` (inlined) or `-`, TYPE a scalar, a `T` name, `[T]` or
//! `{T}`, and the marks are `req`, `ptr`, `keep`, `atomic`, `set`, `map=k,k`, `mapatomic`, `merge`, `merge=KEY`, `retain`,
//! `replace`, `go=NAME` (of a named scalar), `default=JSON` (without spaces).

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::{ListType, PatchStrategy, Scalar, Shape, StructRef, TypeRef};

pub(super) type Str = Cow<'static, str>;

/// An immutable set of types that refer to each other.
#[derive(Debug, Default)]
pub struct Table {
    nodes: Vec<Node>,
    structs: Vec<Struct>,
    by_name: HashMap<Str, u16>,
    by_gvk: HashMap<(Str, Str, Str), u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Scalar(Scalar),
    List(u16),
    Map(u16),
    Struct(u16),
}

#[derive(Debug)]
pub(super) struct Struct {
    pub(super) name: Str,
    pub(super) id: u16,
    pub(super) atomic: bool,
    pub(super) gvk: Option<Box<(Str, Str, Str)>>,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Str,
    pub(super) ty: u16,
    pub(super) numbers: [u16; 4],
    pub(super) required: bool,
    pub(super) pointer: bool,
    pub(super) keeps_empty: bool,
    pub(super) map_atomic: bool,
    pub(super) granular: bool,
    pub(super) list_type: Option<ListType>,
    pub(super) patch: PatchStrategy,
    pub(super) list_keys: Box<[Str]>,
    pub(super) merge_key: Option<Str>,
    pub(super) default: Option<Value>,
    pub(super) go: Option<Str>,
}

/// A line of a table that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("schema table line {line}: {what}")]
pub struct TableError {
    /// One-based.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

const SCALARS: &[(&str, Scalar)] = &[
    ("string", Scalar::String),
    ("bool", Scalar::Bool),
    ("int32", Scalar::Int32),
    ("int64", Scalar::Int64),
    ("double", Scalar::Double),
    ("bytes", Scalar::Bytes),
    ("time", Scalar::Time),
    ("microtime", Scalar::MicroTime),
    ("duration", Scalar::Duration),
    ("quantity", Scalar::Quantity),
    ("intorstring", Scalar::IntOrString),
    ("raw", Scalar::Raw),
    ("fields", Scalar::Fields),
    ("json", Scalar::Json),
    ("propsorarray", Scalar::PropsOrArray),
    ("propsorbool", Scalar::PropsOrBool),
    ("propsorstrings", Scalar::PropsOrStrings),
];

impl Table {
    /// Reads the text form.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &'static str) -> Result<Self, TableError> {
        Parser::default().parse(text.lines())
    }

    /// How many object types there are.
    pub(super) fn count(&self) -> usize {
        self.structs.len()
    }

    /// The id of a type by its OpenAPI name.
    pub(super) fn id_of(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    /// Adds an object type; one with a name can be found by it.
    pub(super) fn add(&mut self, new: Struct) {
        if !new.name.is_empty() {
            self.by_name.insert(new.name.clone(), new.id);
        }
        self.structs.push(new);
    }

    /// A map whose values are of the same type.
    pub(super) fn map_of_itself(&mut self) -> u16 {
        let own = |(id, node): (usize, &Node)| (*node == Node::Map(number(id))).then(|| number(id));
        if let Some(id) = self.nodes.iter().enumerate().find_map(own) {
            return id;
        }
        let id = number(self.nodes.len());
        self.nodes.push(Node::Map(id));
        id
    }

    pub(super) fn shape(&self, id: u16) -> Shape<'_> {
        match self.nodes[usize::from(id)] {
            Node::Scalar(s) => Shape::Scalar(s),
            Node::List(t) => Shape::List(TypeRef { table: self, id: t }),
            Node::Map(t) => Shape::Map(TypeRef { table: self, id: t }),
            Node::Struct(s) => Shape::Struct(StructRef { table: self, inner: &self.structs[usize::from(s)] }),
        }
    }

    /// See [`super::root`].
    #[must_use]
    pub fn root(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef<'_>> {
        let find = |g: &str, v: &str| {
            let key = (Cow::Owned(g.to_owned()), Cow::Owned(v.to_owned()), Cow::Owned(kind.to_owned()));
            self.by_gvk.get(&key).copied()
        };
        let id = find(group, version).or_else(|| find("*", "*"))?;
        Some(TypeRef { table: self, id })
    }

    /// See [`super::by_name`].
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<TypeRef<'_>> {
        self.by_name.get(name).map(|&id| TypeRef { table: self, id })
    }

    /// All object types, in the table's order.
    pub fn structs(&self) -> impl ExactSizeIterator<Item = StructRef<'_>> {
        self.structs.iter().map(|inner| StructRef { table: self, inner })
    }
}

#[derive(Default)]
pub(super) struct Parser {
    pub(super) table: Table,
    packages: HashMap<&'static str, &'static str>,
    ids: HashMap<Node, u16>,
}

pub(super) fn number(n: usize) -> u16 {
    u16::try_from(n).expect("a table holds fewer than 65536 types")
}

impl Parser {
    fn parse(mut self, lines: impl Iterator<Item = &'static str> + Clone) -> Result<Table, TableError> {
        self.read(lines)?;
        Ok(self.table)
    }

    pub(super) fn read(
        &mut self,
        lines: impl Iterator<Item = &'static str> + Clone,
    ) -> Result<(), TableError> {
        for (at, line) in lines.clone().enumerate() {
            self.header(line).map_err(|what| TableError { line: at + 1, what })?;
        }
        let mut current = 0;
        for (at, line) in lines.enumerate() {
            match line.split_once(' ') {
                Some(("P", _)) => {}
                Some(("T", _)) => current += 1,
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => {
                    let field = self.field(line).map_err(|what| TableError { line: at + 1, what })?;
                    self.table.structs[current - 1].fields.push(field);
                }
            }
        }
        for s in &mut self.table.structs {
            s.fields.sort_by(|a, b| a.name.cmp(&b.name));
            s.fields.shrink_to_fit();
        }
        Ok(())
    }

    pub(super) fn node(&mut self, node: Node) -> u16 {
        if let Some(&id) = self.ids.get(&node) {
            return id;
        }
        let id = number(self.table.nodes.len());
        self.table.nodes.push(node);
        self.ids.insert(node, id);
        id
    }

    fn header(&mut self, line: &'static str) -> Result<(), String> {
        let mut words = line.split(' ');
        match words.next() {
            Some("P") => {
                let (Some(short), Some(long)) = (words.next(), words.next()) else {
                    return Err("a package needs two names".to_owned());
                };
                self.packages.insert(short, long);
            }
            Some("T") => {
                let short = words.next().ok_or("a type needs a name")?;
                let name = self.full_name(short)?;
                let index = number(self.table.structs.len());
                let id = self.node(Node::Struct(index));
                let mut new = Struct { name: name.clone(), id, atomic: false, gvk: None, fields: Vec::new() };
                for mark in words {
                    match mark.split_once('=') {
                        Some(("gvk", gvk)) => {
                            let mut parts = gvk.split('/').map(Cow::Borrowed);
                            let (Some(g), Some(v), Some(k)) = (parts.next(), parts.next(), parts.next())
                            else {
                                return Err(format!("`{gvk}` is not group/version/kind"));
                            };
                            self.table.by_gvk.insert((g.clone(), v.clone(), k.clone()), id);
                            new.gvk = Some(Box::new((g, v, k)));
                        }
                        None if mark == "atomic" => new.atomic = true,
                        _ => return Err(format!("unknown mark `{mark}`")),
                    }
                }
                self.table.structs.push(new);
                self.table.by_name.insert(name, id);
            }
            _ => {}
        }
        Ok(())
    }

    fn full_name(&self, short: &str) -> Result<Str, String> {
        let (package, name) = short.rsplit_once('.').ok_or_else(|| format!("`{short}` has no package"))?;
        let long = self.packages.get(package).ok_or_else(|| format!("unknown package `{package}`"))?;
        Ok(Cow::Owned(format!("{long}.{name}")))
    }

    fn ty(&mut self, text: &str) -> Result<u16, String> {
        if let Some(item) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            let item = self.ty(item)?;
            return Ok(self.node(Node::List(item)));
        }
        if let Some(value) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            let value = self.ty(value)?;
            return Ok(self.node(Node::Map(value)));
        }
        if let Some((_, scalar)) = SCALARS.iter().find(|(name, _)| *name == text) {
            return Ok(self.node(Node::Scalar(*scalar)));
        }
        let name = self.full_name(text)?;
        self.table.by_name.get(&name).copied().ok_or_else(|| format!("unknown type `{text}`"))
    }

    fn field(&mut self, line: &'static str) -> Result<Field, String> {
        let mut words = line.split(' ');
        let (Some(name), Some(numbers), Some(ty)) = (words.next(), words.next(), words.next()) else {
            return Err("a field needs a name, numbers and a type".to_owned());
        };
        let mut field = Field::new(Cow::Borrowed(name), self.ty(ty)?);
        if numbers != "-" {
            for (slot, n) in numbers.split('.').enumerate() {
                let place = field.numbers.get_mut(slot).ok_or("inlined too deeply")?;
                *place = n.parse().map_err(|_| format!("`{n}` is not a field number"))?;
            }
        }
        for mark in words {
            apply_mark(&mut field, mark)?;
        }
        Ok(field)
    }
}

impl Field {
    pub(super) fn new(name: Str, ty: u16) -> Self {
        Self {
            name,
            ty,
            numbers: [0; 4],
            required: false,
            pointer: false,
            keeps_empty: false,
            map_atomic: false,
            granular: false,
            list_type: None,
            patch: PatchStrategy::default(),
            list_keys: Box::default(),
            merge_key: None,
            default: None,
            go: None,
        }
    }
}

fn apply_mark(field: &mut Field, mark: &'static str) -> Result<(), String> {
    let (key, value) = mark.split_once('=').map_or((mark, None), |(k, v)| (k, Some(v)));
    match (key, value) {
        ("req", None) => field.required = true,
        ("ptr", None) => field.pointer = true,
        ("keep", None) => field.keeps_empty = true,
        ("mapatomic", None) => field.map_atomic = true,
        ("granular", None) => field.granular = true,
        ("atomic", None) => field.list_type = Some(ListType::Atomic),
        ("set", None) => field.list_type = Some(ListType::Set),
        ("map", Some(keys)) => {
            field.list_type = Some(ListType::Map);
            field.list_keys = keys.split(',').map(Cow::Borrowed).collect();
        }
        ("merge", key) => {
            field.patch.merge = true;
            field.merge_key = key.map(Cow::Borrowed);
        }
        ("retain", None) => field.patch.retain_keys = true,
        ("replace", None) => field.patch.replace = true,
        ("go", Some(name)) => field.go = Some(Cow::Borrowed(name)),
        ("default", Some(json)) => {
            field.default = Some(serde_json::from_str(json).map_err(|e| format!("default `{json}`: {e}"))?);
        }
        _ => return Err(format!("unknown mark `{mark}`")),
    }
    Ok(())
}
