//! Stored forms of values that JSON's numbers cannot carry: floats, wide integers, bytes.

/// A float module: text that reads back to the same bits; a NaN keeps its bits in the text.
macro_rules! float {
    ($name:ident, $float:ty, $bits:ty) => {
        pub(super) mod $name {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};
            pub(in super::super) fn serialize<S: Serializer>(
                value: &$float,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                if value.is_nan() {
                    to.serialize_str(&format!("nan:{:x}", value.to_bits()))
                } else {
                    to.serialize_str(&format!("{value:?}"))
                }
            }

            pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<$float, D::Error> {
                let text = String::deserialize(from)?;
                match text.strip_prefix("nan:") {
                    Some(bits) => <$bits>::from_str_radix(bits, 16)
                        .map(<$float>::from_bits)
                        .map_err(Error::custom),
                    None => text.parse().map_err(Error::custom),
                }
            }
        }
    };
}

float!(float, f32, u32);
float!(double, f64, u64);

pub(super) mod wide {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    pub(in super::super) fn serialize<S: Serializer>(
        value: &i128,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.to_string())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<i128, D::Error> {
        String::deserialize(from)?.parse().map_err(Error::custom)
    }
}

pub(super) mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::literal::text;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &[u8],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text::hex(value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        text::unhex(&text).ok_or_else(|| Error::custom(format!("`{text}` is not hexadecimal")))
    }
}
