//! Random objects of every built-in kind, and what must hold for all of them.
//!
//! Invariant: an object is a function of its seed, so a failure names what to replay. Test code only.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Scalar, Shape, TypeRef, built_in};
use crate::{apply, decode, patch, protobuf};

/// A small generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).expect("an index")]
    }

    fn value(&mut self, ty: TypeRef<'_>, depth: u32) -> Value {
        match ty.shape() {
            Shape::Scalar(scalar) => self.scalar(scalar),
            Shape::List(_) | Shape::Map(_) if depth == 0 => Value::Null,
            // Unique items, since lists with keys must not repeat them.
            Shape::List(item) => {
                let mut out: Vec<Value> = Vec::new();
                for n in 0..self.roll(4) {
                    let mut new = self.value(item, depth - 1);
                    if let Some(map) = new.as_object_mut() {
                        for key in
                            ["name", "key", "type", "ip", "devicePath", "mountPath", "topologyKey", "uid"]
                        {
                            if item.field(key).is_some_and(|f| f.ty().as_scalar() == Some(Scalar::String)) {
                                map.insert(key.to_owned(), format!("{key}{n}").into());
                            }
                        }
                        for key in ["containerPort", "port"] {
                            if item.field(key).is_some_and(|f| f.ty().as_scalar() == Some(Scalar::Int32)) {
                                map.insert(key.to_owned(), n.into());
                            }
                        }
                    }
                    if !out.contains(&new) {
                        out.push(new);
                    }
                }
                out.into()
            }
            Shape::Map(value) => {
                let keys = ["a", "b/c", "", "x.y"];
                let entries =
                    (0..self.roll(3)).map(|_| (self.one_of(&keys).to_owned(), self.value(value, depth - 1)));
                Value::Object(entries.collect())
            }
            Shape::Struct(s) => {
                let mut out = Map::new();
                // apiVersion and kind have no numbers: protobuf keeps them in the envelope, so not of inner objects.
                for field in s.fields().filter(|f| !f.numbers().is_empty()) {
                    let wanted = field.name() == "metadata" || field.name() == "spec" || self.roll(3) == 0;
                    if wanted && (depth > 0 || field.ty().as_scalar().is_some()) {
                        out.insert(field.name().to_owned(), self.value(field.ty(), depth.saturating_sub(1)));
                    }
                }
                Value::Object(out)
            }
        }
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        match scalar {
            Scalar::String => self.one_of(&["", "a", "é\n\"", "TCP"]).into(),
            Scalar::Bool => (self.roll(2) == 0).into(),
            Scalar::Int32 => self.one_of(&[0, 1, -1, i64::from(i32::MAX), i64::from(i32::MIN)]).into(),
            Scalar::Int64 => self.one_of(&[0, 1, -1, i64::MAX, i64::MIN]).into(),
            Scalar::Double => self.one_of(&[0.0, 1.5, -2e10]).into(),
            Scalar::Bytes => self.one_of(&["", "AA==", "aGVsbG8="]).into(),
            Scalar::Time => self.one_of(&["2024-01-02T03:04:05Z", "1969-12-31T23:59:59+02:00"]).into(),
            Scalar::MicroTime => "2024-01-02T03:04:05.678900Z".into(),
            Scalar::Duration => "1h0m0s".into(),
            Scalar::Quantity => self
                .one_of(&[json!("1"), json!(2), json!("1500m"), json!("1024Mi"), json!("0")].each_ref())
                .clone(),
            Scalar::IntOrString => {
                self.one_of(&[json!(0), json!(80), json!("50%"), json!("")].each_ref()).clone()
            }
            Scalar::Raw | Scalar::Fields => json!({"f:a": {}, "n": null, "l": [1, "x"]}),
            Scalar::Json => self.one_of(&[json!([1]), json!("x"), json!({"a": null})].each_ref()).clone(),
            Scalar::PropsOrArray | Scalar::PropsOrBool | Scalar::PropsOrStrings => json!({"type": "string"}),
        }
    }
}

fn roots() -> Vec<TypeRef<'static>> {
    let is_object =
        |t: &TypeRef<'_>| t.field("metadata").is_some_and(|f| f.ty().name().ends_with(".ObjectMeta"));
    built_in()
        .structs()
        .filter(|s| s.group_version_kind().is_some())
        .map(super::StructRef::ty)
        .filter(is_object)
        .collect()
}

fn object(root: usize, seed: u64) -> (TypeRef<'static>, Value) {
    let all = roots();
    let ty = all[root % all.len()];
    let (group, version, kind) =
        ty.as_struct().and_then(super::StructRef::group_version_kind).expect("a root");
    let mut value = Dice(seed).value(ty, 7);
    value["apiVersion"] =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }.into();
    value["kind"] = kind.into();
    value["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    let clean = decode::normalise(value, ty).expect("random objects fit their types");
    assert_eq!(clean.problems, Vec::<String>::new());
    (ty, clean.value)
}

fn clean(value: Value, ty: TypeRef<'_>) -> Value {
    decode::normalise(value, ty).expect("still fits").value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_form_is_stable_and_survives_both_encodings(root in 0..200usize, seed: u64) {
        let (ty, value) = object(root, seed);
        prop_assert_eq!(&clean(value.clone(), ty), &value);
        let json = decode::decode(value.to_string().as_bytes(), ty).expect("JSON");
        prop_assert_eq!(&json.value, &value);
        let bytes = protobuf::from_value(&value, ty).expect("protobuf");
        let back = protobuf::to_value(&protobuf::open(&bytes).expect("opens"), ty).expect("protobuf");
        prop_assert_eq!(without_empty_lists(clean(back, ty)), without_empty_lists(value));
    }

    #[test]
    fn patches_with_oneself_change_nothing(root in 0..200usize, seed: u64) {
        let (ty, value) = object(root, seed);
        let bytes = value.to_string().into_bytes();
        let merged = patch::merge_patch(&value, &bytes).expect("applies").value;
        prop_assert_eq!(without_nulls(clean(merged, ty)), without_nulls(value.clone()));
        if let Ok(merged) = patch::strategic_merge_patch(&value, &bytes, ty) {
            prop_assert_eq!(without_nulls(clean(merged.value, ty)), without_nulls(value));
        }
    }

    #[test]
    fn owners_are_exact(root in 0..200usize, seed: u64, other: u64) {
        let (ty, old) = object(root, seed);
        let (_, mut new) = object(root, other);
        let api_version = old["apiVersion"].as_str().unwrap_or_default().to_owned();
        let kind = old["kind"].as_str().unwrap_or_default().to_owned();
        let by = |manager, time| apply::Write { manager, api_version: &api_version, kind: &kind, subresource: "", time, reset: &[] };
        let mut first = old.clone();
        apply::track(None, &mut first, ty, &by("a", "2024-01-01T00:00:00Z"));
        let mut same = first.clone();
        apply::track(Some(&first), &mut same, ty, &by("b", "2024-01-02T00:00:00Z"));
        prop_assert_eq!(&same, &first);
        apply::track(Some(&first), &mut new, ty, &by("b", "2024-01-02T00:00:00Z"));
        let tracked = clean(new.clone(), ty);
        prop_assert_eq!(&tracked, &new);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, root in 0..200usize) {
        let all = roots();
        let ty = all[root % all.len()];
        let _ = decode::decode(&bytes, ty);
        let _ = decode::type_meta(&bytes);
        let _ = patch::json_patch(&json!({}), &bytes);
        let _ = protobuf::open(&bytes);
        let _ = protobuf::to_value(&protobuf::Envelope { raw: &bytes, ..protobuf::Envelope::default() }, ty);
    }
}

/// Protobuf has no empty list or map.
fn without_empty_lists(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(k, v)| (k, without_empty_lists(v)));
            Value::Object(
                kept.filter(|(_, v)| !v.as_array().is_some_and(Vec::is_empty) && *v != json!({})).collect(),
            )
        }
        Value::Array(items) => items.into_iter().map(without_empty_lists).collect(),
        other => other,
    }
}

/// A merge patch cannot set null, not even inside free-form objects.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
