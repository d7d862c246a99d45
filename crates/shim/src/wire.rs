//! The encoding under the messages: positional, little endian, lengths before contents.
//!
//! Invariant: decoding never reads past the end nor allocates more than the bytes at hand can fill. Absent: versions
//! of single messages, skipping of unknown fields.

/// Not a message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Appends itself to a buffer.
pub trait Encode {
    /// Appends itself.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Reads itself from a buffer.
pub trait Decode: Sized {
    /// Reads itself.
    ///
    /// # Errors
    /// When the bytes do not fit.
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// A cursor over received bytes.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        if count > self.0.len() {
            return Err(Malformed);
        }
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        Ok(head)
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// When something is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Encode for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
        impl Decode for $type {
            fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bytes = from.take(size_of::<$type>())?;
                Ok(<$type>::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
            }
        }
    )*};
}
number!(u8, u16, u32, u64, i32, i64);

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Decode for bool {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(u8::decode(from)? != 0)
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Decode for String {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = u32::decode(from)? as usize;
        let bytes = from.take(length)?;
        core::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed)
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        for item in self {
            item.encode(out);
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = u32::decode(from)? as usize;
        let mut items = Vec::with_capacity(length.min(from.0.len()));
        for _ in 0..length {
            items.push(T::decode(from)?);
        }
        Ok(items)
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::decode(from)? { T::decode(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Encode> Encode for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::decode(from).map(Box::new)
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
}

impl<A: Decode, B: Decode> Decode for (A, B) {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::decode(from)?, B::decode(from)?))
    }
}

impl<A: Encode, B: Encode, C: Encode> Encode for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }
}

impl<A: Decode, B: Decode, C: Decode> Decode for (A, B, C) {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::decode(from)?, B::decode(from)?, C::decode(from)?))
    }
}

/// A struct whose fields are encoded in the order written.
macro_rules! message {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),* }

        impl $crate::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }
        }

        impl $crate::Decode for $name {
            fn decode(from: &mut $crate::Reader<'_>) -> Result<Self, $crate::Malformed> {
                Ok(Self { $($field: $crate::Decode::decode(from)?),* })
            }
        }
    };
}

/// An enum encoded as a tag and the fields of the variant.
macro_rules! choice {
    ($name:ident { $($tag:literal => $variant:ident
        $(($($item:ident),*))? $({ $($field:ident),* })?),* $(,)? }) => {
        impl $crate::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$variant $(($($item),*))? $({ $($field),* })? => {
                        out.push($tag);
                        $($($item.encode(out);)*)?
                        $($($field.encode(out);)*)?
                    })*
                }
            }
        }

        impl $crate::Decode for $name {
            fn decode(from: &mut $crate::Reader<'_>) -> Result<Self, $crate::Malformed> {
                match u8::decode(from)? {
                    $($tag => {
                        $($(let $item = $crate::Decode::decode(from)?;)*)?
                        $($(let $field = $crate::Decode::decode(from)?;)*)?
                        Ok($name::$variant $(($($item),*))? $({ $($field),* })?)
                    })*
                    _ => Err($crate::Malformed),
                }
            }
        }
    };
}

pub(crate) use {choice, message};
