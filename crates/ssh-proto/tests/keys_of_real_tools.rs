//! Key files of the real `ssh-keygen` and `openssl`: read, compared, signed with and verified.

// clippy.toml frees test functions, but not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_proto::algorithm::{Hash, Signature};
use ssh_proto::crypto::digest::digest;
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::{KeyError, PrivateKey, PublicKey, parse_authorized_keys};
use ssh_proto::wire::{Put, Reader};
use tempfile::TempDir;

/// Runs a tool of the named Debian package; gives what it prints.
fn run(package: &str, command: &mut Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; install the package {package}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn ssh_keygen(args: &[&str], input: &[u8]) -> String {
    run(
        "openssh-client",
        Command::new("ssh-keygen").args(args),
        input,
    )
}

fn openssl(args: &[&str]) -> String {
    run("openssl", Command::new("openssl").args(args), b"")
}

/// A directory of key files.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new key in OpenSSH's format; its public half lies beside it.
    fn generate(&self, name: &str, args: &[&str]) -> PathBuf {
        let path = self.path(name);
        let common = ["-q", "-N", "", "-C", "a comment", "-f", text(&path)];
        ssh_keygen(&[&common[..], args].concat(), b"");
        path
    }

    /// A copy of the key in another form.
    fn convert(&self, path: &Path, form: &str, passphrase: &str) -> PathBuf {
        let copy = path.with_extension(format!("{form}{passphrase}"));
        fs::copy(path, &copy).unwrap();
        let args = ["-q", "-p", "-P", "", "-N", passphrase, "-f", text(&copy)];
        let form: &[&str] = if form == "OPENSSH" {
            &[]
        } else {
            &["-m", form]
        };
        ssh_keygen(&[&args[..], form].concat(), b"");
        copy
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn load(path: &Path) -> PrivateKey {
    let pem = fs::read(path).unwrap();
    PrivateKey::from_pem(&pem).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// What `ssh-keygen` wrote beside the private key.
fn public_beside(path: &Path) -> PublicKey {
    parse_authorized_keys(&fs::read(path.with_extension("pub")).unwrap()).unwrap()
}

fn check_fingerprints(path: &Path, key: &PublicKey) {
    let public = path.with_extension("pub");
    for (hash, ours) in [
        ("md5", format!("MD5:{}", key.fingerprint_md5())),
        ("sha256", format!("SHA256:{}", key.fingerprint_sha256())),
    ] {
        let line = ssh_keygen(&["-l", "-E", hash, "-f", text(&public)], b"");
        assert_eq!(line.split(' ').nth(1), Some(ours.as_str()));
        assert_eq!(key.matches_fingerprint(&ours), Some(true));
    }
    let line = ssh_keygen(&["-l", "-E", "sha1", "-f", text(&public)], b"");
    let mut words = line.split(' ');
    let bits = words.next().unwrap().parse().unwrap();
    assert!(key.rsa_bits().is_none_or(|ours| ours == bits));
    let theirs = words.next().unwrap();
    assert_eq!(key.matches_fingerprint(theirs), Some(true));
    let digest = STANDARD.decode(format!("{}=", theirs.strip_prefix("SHA1:").unwrap()));
    let pairs: Vec<_> = digest.unwrap().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(key.fingerprint_sha1(), pairs.join(":"));
}

/// PROTOCOL.sshsig: what is signed.
fn sshsig_message(hash: &str, message: &[u8]) -> Vec<u8> {
    let function = if hash == "sha256" {
        Hash::Sha256
    } else {
        Hash::Sha512
    };
    let mut signed = b"SSHSIG".to_vec();
    for field in [b"test", &b""[..], hash.as_bytes()] {
        signed.put_string(field);
    }
    signed.put_string(digest(function, &[message]).as_ref());
    signed
}

/// Our signature, shown to `ssh-keygen -Y verify`.
fn check_that_ssh_keygen_verifies(keys: &Keys, key: &PrivateKey, algorithm: Signature) {
    let message = b"a message from us";
    let signature = key
        .sign(algorithm, &sshsig_message("sha512", message))
        .unwrap();
    let mut blob = b"SSHSIG".to_vec();
    blob.put_u32(1);
    for field in [key.public().blob(), b"test", b"", b"sha512", &signature] {
        blob.put_string(field);
    }
    let armoured = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        STANDARD.encode(blob)
    );
    let (file, allowed) = (keys.path("signature"), keys.path("allowed"));
    fs::write(&file, armoured).unwrap();
    let public = STANDARD.encode(key.public().blob());
    let line = format!("me {} {public}\n", key.public().key_type());
    fs::write(&allowed, line).unwrap();
    let args = ["-Y", "verify", "-n", "test", "-I", "me"];
    let files = ["-s", text(&file), "-f", text(&allowed)];
    let said = ssh_keygen(&[&args[..], &files].concat(), message);
    assert!(said.starts_with("Good \"test\" signature"), "{said}");
}

/// The signature of `ssh-keygen -Y sign`, verified by us.
fn check_that_we_verify_ssh_keygen(path: &Path, key: &PublicKey) {
    let message = b"a message from them";
    let armoured = ssh_keygen(&["-Y", "sign", "-n", "test", "-f", text(path)], message);
    let base64: String = armoured.lines().filter(|l| !l.starts_with('-')).collect();
    let blob = STANDARD.decode(base64).unwrap();
    let mut reader = Reader::new(blob.strip_prefix(b"SSHSIG").unwrap());
    reader.u32().unwrap();
    assert_eq!(reader.string().unwrap(), key.blob());
    let [_namespace, _reserved, hash, signature] = [(); 4].map(|()| reader.string().unwrap());
    let signed = sshsig_message(str::from_utf8(hash).unwrap(), message);
    let name = Reader::new(signature).utf8().unwrap();
    let algorithm = Signature::from_name(name).unwrap();
    assert_eq!(key.verify(algorithm, &signed, signature), Ok(()));
    assert!(key.verify(algorithm, b"other", signature).is_err());
}

fn check_own_signatures(key: &PrivateKey) {
    for algorithm in Signature::ALL {
        let fits = key.public().signatures().contains(algorithm);
        assert_eq!(key.sign(*algorithm, b"x").is_ok(), fits);
        for _ in 0..if fits { 10 } else { 0 } {
            let blob = key.sign(*algorithm, b"message").unwrap();
            assert_eq!(key.public().verify(*algorithm, b"message", &blob), Ok(()));
            assert!(key.public().verify(*algorithm, b"massage", &blob).is_err());
        }
    }
}

/// Every form of one key gives the same public key, and signatures that OpenSSH takes.
fn check_key(args: &[&str], key_type: &str, forms: &[&str]) {
    let keys = Keys::new();
    let path = keys.generate("key", args);
    let public = public_beside(&path);
    assert_eq!(public.key_type(), key_type);
    check_fingerprints(&path, &public);
    for form in forms {
        let converted = keys.convert(&path, form, "");
        let key = load(&converted);
        assert_eq!(key.public(), &public, "{form}");
        check_own_signatures(&key);
        for algorithm in public.signatures() {
            check_that_ssh_keygen_verifies(&keys, &key, *algorithm);
        }
    }
    check_that_we_verify_ssh_keygen(&path, &public);
}

const FORMS: &[&str] = &["OPENSSH", "PEM", "PKCS8"];

#[test]
fn rsa_keys_of_1024_bits() {
    check_key(&["-t", "rsa", "-b", "1024"], "ssh-rsa", FORMS);
}

#[test]
fn rsa_keys_of_2048_bits() {
    check_key(&["-t", "rsa", "-b", "2048"], "ssh-rsa", FORMS);
}

#[test]
fn rsa_keys_of_3072_bits() {
    check_key(&["-t", "rsa", "-b", "3072"], "ssh-rsa", FORMS);
}

#[test]
fn rsa_keys_of_odd_lengths() {
    for bits in ["1031", "2047", "2049"] {
        check_key(&["-t", "rsa", "-b", bits], "ssh-rsa", FORMS);
    }
}

#[test]
fn ecdsa_keys() {
    for bits in ["256", "384", "521"] {
        let key_type = format!("ecdsa-sha2-nistp{bits}");
        check_key(&["-t", "ecdsa", "-b", bits], &key_type, FORMS);
    }
}

#[test]
fn ed25519_keys_of_ssh_keygen() {
    check_key(&["-t", "ed25519"], "ssh-ed25519", &["OPENSSH"]);
}

#[test]
fn ed25519_keys_of_openssl() {
    let keys = Keys::new();
    let pem = openssl(&["genpkey", "-algorithm", "ed25519"]);
    let key = PrivateKey::from_pem(&pem).unwrap();
    assert_eq!(key.public().key_type(), "ssh-ed25519");
    check_own_signatures(&key);
    check_that_ssh_keygen_verifies(&keys, &key, Signature::Ed25519);
}

#[test]
fn keys_that_we_generate_are_keys_to_ssh_keygen() {
    let keys = Keys::new();
    let key = PrivateKey::generate_ed25519(&mut SeededRandom::new(1));
    check_own_signatures(&key);
    check_that_ssh_keygen_verifies(&keys, &key, Signature::Ed25519);
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("PrivateKey({:?})", key.public()));
}

#[test]
fn crlf_text_around_and_parameters_in_front_do_not_matter() {
    let pem = openssl(&["ecparam", "-name", "prime256v1", "-genkey"]);
    assert!(pem.starts_with("-----BEGIN EC PARAMETERS-----"));
    let key = PrivateKey::from_pem(&pem).unwrap();
    let noisy = format!("some text\n{pem}\nmore text\n").replace('\n', "\r\n");
    let again = PrivateKey::from_pem(noisy).unwrap();
    assert_eq!(key.public(), again.public());
    let unended = PrivateKey::from_pem(pem.trim_end()).unwrap();
    assert_eq!(key.public(), unended.public());
}

#[test]
fn keys_with_a_passphrase_are_told_apart() {
    let keys = Keys::new();
    let path = keys.generate("key", &["-t", "rsa", "-b", "2048"]);
    for form in FORMS {
        let locked = keys.convert(&path, form, "secret");
        let error = PrivateKey::from_pem(fs::read(locked).unwrap()).unwrap_err();
        assert_eq!(error, KeyError::Encrypted, "{form}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let message = |pem: &str| PrivateKey::from_pem(pem).unwrap_err().to_string();
    assert_eq!(
        message(&openssl(&["genrsa", "512"])),
        "key refused: RSA modulus of less than 1024 bits"
    );
    assert_eq!(
        message(&openssl(&["ecparam", "-name", "secp256k1", "-genkey"])),
        "key refused: EC key that is damaged or on a curve other than P-256, P-384, P-521"
    );
    assert_eq!(
        message(&openssl(&["genpkey", "-algorithm", "x25519"])),
        "key refused: PKCS#8 key that is not RSA, EC or Ed25519"
    );
}

/// The text of a block with other content.
fn armour(label: &str, content: &[u8]) -> String {
    let base64 = STANDARD.encode(content);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

/// Whatever is damaged or cut: an error or a key that works, never a panic.
#[test]
fn damaged_files_do_not_panic() {
    let keys = Keys::new();
    for (name, args, stride) in [
        ("rsa", &["-t", "rsa", "-b", "1024"][..], 13),
        ("rsa2", &["-t", "rsa", "-b", "2048"], 97),
        ("ec", &["-t", "ecdsa", "-b", "256"], 3),
        ("ed", &["-t", "ed25519"], 1),
    ] {
        let path = keys.generate(name, args);
        let forms = if name == "ed" {
            &["OPENSSH"][..]
        } else {
            FORMS
        };
        for form in forms {
            let pem = fs::read_to_string(keys.convert(&path, form, "")).unwrap();
            let label = pem.lines().next().unwrap();
            let label = label.trim_matches('-').strip_prefix("BEGIN ").unwrap();
            let base64: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
            let content = STANDARD.decode(base64).unwrap();
            for at in (0..content.len()).step_by(stride) {
                assert!(PrivateKey::from_pem(armour(label, &content[..at])).is_err());
                for flip in [1, 0x80, 0xff] {
                    let mut damaged = content.clone();
                    damaged[at] ^= flip;
                    if let Ok(key) = PrivateKey::from_pem(armour(label, &damaged)) {
                        let algorithm = key.public().signatures()[0];
                        let blob = key.sign(algorithm, b"message").unwrap();
                        assert!(key.public().verify(algorithm, b"message", &blob).is_ok());
                    }
                }
            }
        }
    }
}
