//! Trust: which plugin files are accepted, by a list of hashes or by signatures with known keys.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::DecodePublicKey;
use ed25519_dalek::{SIGNATURE_LENGTH, Signature, VerifyingKey};
use rowmill_sandbox::Refusal;

use crate::config::TrustConfig;

const HOW_TO_MAKE_A_KEY: &str = "`openssl genpkey -algorithm ed25519 -out key.pem` creates a private key, `openssl pkey -in key.pem -pubout` prints the public key for this setting";

/// The accepted hashes and keys. With neither, any file is accepted.
#[derive(Debug)]
pub struct Trust {
    hashes: BTreeSet<String>,
    keys: Vec<VerifyingKey>,
}

impl Trust {
    /// Parses the hashes and reads the keys.
    ///
    /// # Errors
    /// A hash or a key is invalid, or a key file cannot be read; the message says what to write.
    pub fn new(config: &TrustConfig) -> Result<Self, String> {
        let hashes = config.hashes.iter().map(|hash| pinned(hash)).collect::<Result<_, _>>()?;
        let keys = config.keys.iter().map(|path| key(path)).collect::<Result<_, _>>()?;
        Ok(Self { hashes, keys })
    }

    /// Checks a file by its SHA-256 in lower-case hexadecimal, its bytes, and the content of `NAME.wasm.sig` beside it: an
    /// ed25519 signature of the bytes, raw or as base64.
    ///
    /// # Errors
    /// A refusal of the step `trust`, which says what is missing and how to make the file trusted.
    pub fn check(&self, hash: &str, bytes: &[u8], signature: Option<&[u8]>) -> Result<(), Refusal> {
        if self.hashes.is_empty() && self.keys.is_empty() || self.hashes.contains(hash) {
            return Ok(());
        }
        let refuse = |what: &str| {
            Err(Refusal::new(
                "trust",
                format!("{what}. To trust the file without a signature, add \"sha256:{hash}\" to plugins.hashes"),
            ))
        };
        if self.keys.is_empty() {
            return refuse("its SHA-256 is not in plugins.hashes");
        }
        let sign = "sign it with `openssl pkeyutl -sign -rawin -inkey key.pem -in x.wasm -out x.wasm.sig`";
        let Some(signature) = signature else {
            return refuse(&format!("it has no signature file (x.wasm.sig for x.wasm); {sign}"));
        };
        let Some(signature) = read_signature(signature) else {
            return refuse(&format!(
                "its .sig file is not an ed25519 signature ({SIGNATURE_LENGTH} bytes, raw or as base64); {sign}"
            ));
        };
        // Strict verification: a signature is valid for exactly one message and one key, even for crafted ones.
        if self.keys.iter().any(|key| key.verify_strict(bytes, &signature).is_ok()) {
            return Ok(());
        }
        refuse(&format!(
            "its signature was made for other bytes, or with a key that is not in plugins.trusted_keys; {sign}"
        ))
    }
}

fn pinned(hash: &str) -> Result<String, String> {
    let digits = hash.trim().strip_prefix("sha256:").unwrap_or(hash.trim()).to_ascii_lowercase();
    if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err(format!(
        "plugins.hashes: {hash:?} is not a SHA-256; write the 64 hexadecimal digits that `sha256sum x.wasm` prints, optionally with the prefix sha256:"
    ))
}

fn key(path: &Path) -> Result<VerifyingKey, String> {
    let wrong = |what: String| Err(format!("plugins.trusted_keys: {}: {what}", path.display()));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return wrong(format!("cannot be read: {error}")),
    };
    if text.contains("PRIVATE KEY") {
        return wrong(
            "this is a private key, but the setting needs the public key; `openssl pkey -in key.pem -pubout` prints it"
                .into(),
        );
    }
    match VerifyingKey::from_public_key_pem(text.trim()) {
        Ok(key) if key.is_weak() => {
            wrong(format!("the key is weak: any signature would be valid; {HOW_TO_MAKE_A_KEY}"))
        }
        Ok(key) => Ok(key),
        Err(error) => wrong(format!("not an ed25519 public key in PEM ({error}); {HOW_TO_MAKE_A_KEY}")),
    }
}

fn read_signature(bytes: &[u8]) -> Option<Signature> {
    if let Ok(signature) = Signature::from_slice(bytes) {
        return Some(signature);
    }
    // The output of `base64`, which has line breaks.
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    Signature::from_slice(&STANDARD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::{EncodePublicKey, spki::der::pem::LineEnding};
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    /// `openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout`.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAqjFq3v5JKEk8iQrbzRDtRNPArvpOxGaR1MXAj78V18c=
-----END PUBLIC KEY-----
";
    /// `printf '\0asm\1\0\0\0' > x.wasm`, and its `sha256sum`.
    const BYTES: &[u8] = b"\0asm\x01\0\0\0";
    const HASH: &str = "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";
    /// `openssl pkeyutl -sign -rawin -inkey key.pem -in x.wasm | base64`.
    const SIGNED: &str = "7eF2NolP07vwa1hvLUBLdq58Zfy+xrVVC+BXd+DyApeBIJa0XxzVpX7/FL+0OXNZPqI0QWTste3V
kfNgEE82AA==
";

    /// A `Trust` with key files of these contents.
    fn trust(hashes: &[&str], keys: &[&str]) -> Result<Trust, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |(n, text): (usize, &&str)| {
            let path = folder.path().join(format!("{n}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        let keys = keys.iter().enumerate().map(write).collect();
        Trust::new(&TrustConfig { hashes: hashes.iter().map(|hash| hash.to_string()).collect(), keys })
    }

    #[track_caller]
    fn refused(trust: &Trust, signature: Option<&[u8]>, words: &[&str]) {
        let refusal = trust.check(HASH, BYTES, signature).unwrap_err();
        assert_eq!(refusal.step, "trust");
        for words in words.iter().chain(&[&format!("\"sha256:{HASH}\"")[..]]) {
            assert!(refusal.reason.contains(words), "{words:?} is not in {refusal}");
        }
    }

    #[test]
    fn without_hashes_and_keys_any_file_is_accepted() {
        trust(&[], &[]).unwrap().check(HASH, BYTES, None).unwrap();
    }

    #[test]
    fn a_listed_hash_is_accepted_in_any_notation() {
        for hash in [HASH, &HASH.to_uppercase(), &format!("sha256:{HASH}")] {
            trust(&[hash], &[]).unwrap().check(HASH, BYTES, None).unwrap();
            // Keys do not restrict listed hashes.
            trust(&[hash], &[PUBLIC]).unwrap().check(HASH, BYTES, None).unwrap();
        }
        refused(&trust(&[&"0".repeat(64)], &[]).unwrap(), None, &["not in plugins.hashes"]);
    }

    #[test]
    fn a_signature_by_openssl_is_accepted() {
        let trust = trust(&[], &[PUBLIC]).unwrap();
        trust.check(HASH, BYTES, Some(SIGNED.as_bytes())).unwrap();
        let raw = STANDARD.decode(SIGNED.replace('\n', "")).unwrap();
        trust.check(HASH, BYTES, Some(&raw)).unwrap();
        let mut other = raw.clone();
        other[3] ^= 1;
        refused(&trust, Some(&other), &["was made for other bytes, or with a key"]);
        assert!(trust.check(HASH, b"\0asm\x01\0\0\x01", Some(&raw)).is_err());
    }

    #[test]
    fn a_refusal_names_the_missing_or_wrong_part() {
        let pair = SigningKey::from_bytes(&[7; 32]);
        let signature = pair.sign(BYTES).to_bytes();
        let known = trust(&[], &[PUBLIC]).unwrap();
        refused(&known, None, &["no signature file", "x.wasm.sig", "openssl pkeyutl"]);
        refused(&known, Some(b"signed, me"), &["not an ed25519 signature"]);
        refused(&known, Some(&signature), &["with a key that is not in plugins.trusted_keys"]);
        let its_own = pair.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        trust(&[], &[PUBLIC, &its_own]).unwrap().check(HASH, BYTES, Some(&signature)).unwrap();
    }

    #[track_caller]
    fn wrong(hashes: &[&str], keys: &[&str], words: &str) {
        let error = trust(hashes, keys).unwrap_err();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn invalid_hashes_and_keys_are_refused_with_advice() {
        wrong(&["abc"], &[], "plugins.hashes: \"abc\" is not a SHA-256; write the 64");
        wrong(&[&"g".repeat(64)], &[], "sha256sum");
        wrong(&[], &["ssh-ed25519 AAAA"], "openssl genpkey -algorithm ed25519");
        wrong(&[], &["-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"], "-pubout");
        let nothing = Trust::new(&TrustConfig { hashes: Vec::new(), keys: vec!["/no/such.pem".into()] }).unwrap_err();
        assert!(nothing.contains("/no/such.pem: cannot be read"), "{nothing}");
        // The identity element as a key: it accepts signatures that anyone can make.
        let mut der = STANDARD.decode(PUBLIC.lines().nth(1).unwrap()).unwrap();
        der[12..].fill(0);
        der[12] = 1;
        let weak = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        wrong(&[], &[&weak], "any signature would be valid");
    }
}
