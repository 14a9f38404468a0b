//! Keys as people and files write them: base64 of 32 bytes, as WireGuard has it. What is secret is wiped when
//! dropped, compared in constant time and never shown.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use crate::Random;
use crate::x25519;

/// Why a text is not a key. Says nothing of the text: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Other characters, or no padding.
    #[error("a key is 44 characters of base64")]
    NotBase64,
    /// Base64 of something else.
    #[error("a key is 32 bytes, this is {0}")]
    WrongLength(usize),
    /// Nothing was generated, or a file was never written.
    #[error("a key of zeros protects nothing")]
    AllZero,
    /// Every agreement with it gives zero.
    #[error("a public key of low order protects nothing")]
    LowOrder,
    /// Another spelling of a point that has a proper one.
    #[error("a public key is below 2^255 - 19")]
    NotReduced,
}

/// Who a peer is: an X25519 point, in its one spelling and not of low order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the 32 bytes of a point.
    ///
    /// # Errors
    /// A point of low order, and a number that is not reduced, are no keys.
    pub fn new(bytes: [u8; 32]) -> Result<Self, KeyError> {
        // Any multiple of the cofactor kills what has low order: the secret does not matter.
        x25519::agree(&[1; 32], &bytes).map_err(|_| match bytes {
            [0, ..] if bytes == [0; 32] => KeyError::AllZero,
            _ => KeyError::LowOrder,
        })?;
        let [low, middle @ .., high] = bytes;
        if high > 0x7f || high == 0x7f && low >= 0xed && middle == [0xff; 30] {
            return Err(KeyError::NotReduced);
        }
        Ok(Self(bytes))
    }

    /// The point's 32 bytes, as they go over the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(*decode(text)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host's static X25519 secret.
#[derive(Clone)]
pub struct PrivateKey(Box<[u8; 32]>);

impl PrivateKey {
    /// Makes a new key.
    #[must_use]
    pub fn generate(random: &mut impl Random) -> Self {
        let mut bytes = Box::new([0; 32]);
        random.fill(&mut *bytes);
        // As `wg genkey` writes it; X25519 clamps whatever it is given.
        bytes[0] &= 0xf8;
        bytes[31] = bytes[31] & 0x7f | 0x40;
        Self(bytes)
    }

    /// Takes the 32 bytes of a secret.
    ///
    /// # Errors
    /// Zeros are no key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        boxed(bytes).map(Self)
    }

    /// Reads a key from base64; blanks and line ends around it are no part of it.
    ///
    /// # Errors
    /// What is not base64 of 32 bytes, and zeros, are no key.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        secret(text).map(Self)
    }

    /// The key in base64.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.0))
    }

    /// The point that others know this host by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519::public(&self.0))
    }

    /// The 32 bytes of the secret, for another protocol's engine. Whoever copies them wipes the copy.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A secret that two peers share beside their static keys.
#[derive(Clone)]
pub struct PresharedKey(Box<[u8; 32]>);

impl PresharedKey {
    /// Makes a new key.
    #[must_use]
    pub fn generate(random: &mut impl Random) -> Self {
        let mut bytes = Box::new([0; 32]);
        random.fill(&mut *bytes);
        Self(bytes)
    }

    /// Takes the 32 bytes of a secret.
    ///
    /// # Errors
    /// Zeros are no key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        boxed(bytes).map(Self)
    }

    /// Reads a key from base64; blanks and line ends around it are no part of it.
    ///
    /// # Errors
    /// What is not base64 of 32 bytes, and zeros, are no key.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        secret(text).map(Self)
    }

    /// The key in base64.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.0))
    }

    /// The 32 bytes of the secret, for another protocol's engine. Whoever copies them wipes the copy.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

macro_rules! keep_secret {
    ($($name:ident),*) => {$(
        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                verify_slices_are_equal(&*self.0, &*other.0).is_ok()
            }
        }

        impl Eq for $name {}

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                Self::from_base64(text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

keep_secret!(PrivateKey, PresharedKey);

fn secret(text: &str) -> Result<Box<[u8; 32]>, KeyError> {
    boxed(&*decode(text)?)
}

fn boxed(bytes: &[u8; 32]) -> Result<Box<[u8; 32]>, KeyError> {
    // Boxed, so that moving the key leaves no copy behind.
    let mut key = Box::new([0; 32]);
    key.copy_from_slice(bytes);
    if verify_slices_are_equal(&*key, &[0; 32]).is_ok() {
        return Err(KeyError::AllZero);
    }
    Ok(key)
}

fn decode(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = text.trim_ascii();
    // Room for the longest text that could be a key, and a little more to name its length.
    let mut buffer = Zeroizing::new([0; 96]);
    let len = match STANDARD.decode_slice(text, &mut *buffer) {
        Ok(len) => len,
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => text.len() / 4 * 3,
        Err(base64::DecodeSliceError::DecodeError(_)) => return Err(KeyError::NotBase64),
    };
    if len != 32 {
        return Err(KeyError::WrongLength(len));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(&buffer[..32]);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::{Dice, bytes};
    use crate::x25519::tests::LOW_ORDER;

    #[test]
    fn a_key_comes_back_from_its_text() {
        let mut dice = Dice::new(1);
        let private = PrivateKey::generate(&mut dice);
        let text = format!(" {}\n", *private.to_base64());
        assert_eq!(text.trim().len(), 44);
        assert_eq!(PrivateKey::from_base64(&text).unwrap(), private);
        assert_ne!(PrivateKey::generate(&mut dice), private);

        let public = private.public();
        assert_eq!(public.to_string().parse(), Ok(public));

        assert_eq!(PrivateKey::from_bytes(private.as_bytes()), Ok(private));
        assert_eq!(PrivateKey::from_bytes(&[0; 32]), Err(KeyError::AllZero));

        let psk = PresharedKey::generate(&mut dice);
        assert_eq!(PresharedKey::from_bytes(psk.as_bytes()).as_ref(), Ok(&psk));
        assert_eq!(psk.to_base64().parse(), Ok(psk));
    }

    /// RFC 7748 §6.1, as `wg pubkey` would write it.
    #[test]
    fn the_public_key_is_that_of_wireguard() {
        let private: PrivateKey = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=".parse().unwrap();
        assert_eq!(private.public().to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
    }

    #[test]
    fn what_is_no_key_is_refused_in_words_that_do_not_quote_it() {
        let long = "QUJD".repeat(40);
        let table = [
            ("", KeyError::WrongLength(0)),
            ("QUJD", KeyError::WrongLength(3)),
            (&long, KeyError::WrongLength(120)),
            ("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo", KeyError::NotBase64),
            ("hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo=", KeyError::NotBase64),
            ("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp=", KeyError::NotBase64),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", KeyError::AllZero),
        ];
        for (text, error) in table {
            assert_eq!(PrivateKey::from_base64(text), Err(error), "{text}");
            assert_eq!(PresharedKey::from_base64(text), Err(error), "{text}");
            assert_eq!(text.parse::<PublicKey>(), Err(error), "{text}");
        }
    }

    #[test]
    fn public_keys_of_low_order_and_second_spellings_are_refused() {
        for point in LOW_ORDER {
            let error =
                if point.starts_with("00") { KeyError::AllZero } else { KeyError::LowOrder };
            assert_eq!(PublicKey::new(bytes(point)), Err(error), "{point}");
        }
        let public = PrivateKey::generate(&mut Dice::new(2)).public();
        let mut spelled = *public.as_bytes();
        spelled[31] |= 0x80;
        assert_eq!(PublicKey::new(spelled), Err(KeyError::NotReduced));
        // 2^255 - 19 + 9 is another name of the base point.
        let mut nine = [0xff; 32];
        (nine[0], nine[31]) = (0xed + 9, 0x7f);
        assert_eq!(PublicKey::new(nine), Err(KeyError::NotReduced));
        let mut last = [0xff; 32];
        (last[0], last[31]) = (0xeb, 0x7f);
        assert!(PublicKey::new(last).is_ok());
    }

    #[test]
    fn secrets_do_not_show_themselves() {
        let private = PrivateKey::generate(&mut Dice::new(3));
        assert_eq!(format!("{private:?}"), "PrivateKey(…)");
        let psk = PresharedKey::generate(&mut Dice::new(3));
        assert_eq!(format!("{psk:?}"), "PresharedKey(…)");
    }
}
