//! X25519, RFC 7748, by aws-lc-rs. An all-zero result is an error: it is what points of low order give.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use zeroize::Zeroizing;

/// The other side's point has low order, so that the result would not depend on the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LowOrder;

/// The public key of `secret`.
pub(crate) fn public(secret: &[u8; 32]) -> [u8; 32] {
    let key = private_key(secret).compute_public_key().expect("every scalar has a point");
    key.as_ref().try_into().expect("32 bytes")
}

/// What `secret` and `point` have in common.
///
/// # Errors
/// [`LowOrder`] if the result would be all zero.
pub(crate) fn agree(secret: &[u8; 32], point: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, LowOrder> {
    agreement::agree(
        &private_key(secret),
        UnparsedPublicKey::new(&X25519, point),
        LowOrder,
        |shared| {
            let mut out = Zeroizing::new([0; 32]);
            out.copy_from_slice(shared);
            // AWS-LC refuses this itself; a promise of ours is checked by us.
            if aws_lc_rs::constant_time::verify_slices_are_equal(&*out, &[0; 32]).is_ok() {
                return Err(LowOrder);
            }
            Ok(out)
        },
    )
}

fn private_key(secret: &[u8; 32]) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, secret).expect("every 32 bytes are a scalar")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::test::{bytes, hex};

    /// Points of order 1, 2, 4 and 8 on the curve and its twist, with their encodings that are not reduced:
    /// <https://cr.yp.to/ecdh.html#validate>.
    pub(crate) const LOW_ORDER: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];

    #[test]
    fn points_of_low_order_are_refused_with_and_without_the_top_bit() {
        for point in LOW_ORDER {
            let mut point = bytes(point);
            assert_eq!(agree(&[7; 32], &point).map(drop), Err(LowOrder), "{}", hex(&point));
            point[31] |= 0x80;
            assert_eq!(agree(&[7; 32], &point).map(drop), Err(LowOrder), "{}", hex(&point));
        }
    }

    /// RFC 7748 §5.2 and §6.1.
    #[test]
    fn the_vectors_of_rfc_7748_hold() {
        let table = [
            (
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ),
            (
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ),
        ];
        for (secret, point, shared) in table {
            assert_eq!(*agree(&bytes(secret), &bytes(point)).unwrap(), bytes::<32>(shared));
        }
        let alice = bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        assert_eq!(
            hex(&public(&alice)),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        );
        let bob = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
        assert_eq!(
            hex(&*agree(&alice, &bytes(bob)).unwrap()),
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
        );
    }
}
