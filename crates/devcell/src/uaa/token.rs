//! Owns the tokens of the UAA double: what they look like and whose they are. Who may do what with
//! one is Cloud Controller's to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::time::Instant;

use super::User;
use crate::keys::{KeyError, random_hex};
use crate::server::lock;

/// What a token looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenShape {
    /// Three parts with claims inside, signed.
    #[default]
    Jwt,
    /// Random characters, as for clients with opaque tokens.
    Opaque,
    /// This text, whatever it is; Cloud Controller takes it all the same.
    Exactly(String),
}

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user.
    pub user: User,
    /// The client that got the token.
    pub client: String,
    expires: Instant,
}

/// All tokens that were given out; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<BTreeMap<String, Grant>>>);

impl Tokens {
    /// Gives out a token that is good for `lifetime`.
    pub fn issue(
        &self,
        user: &User,
        client: &str,
        shape: &TokenShape,
        lifetime: Duration,
    ) -> Result<String, KeyError> {
        let token = match shape {
            TokenShape::Jwt => jwt(user, client, lifetime)?,
            TokenShape::Opaque => random_hex(16)?,
            TokenShape::Exactly(text) => text.clone(),
        };
        let now = Instant::now();
        let grant = Grant {
            user: user.clone(),
            client: client.to_owned(),
            expires: now + lifetime,
        };
        let mut tokens = lock(&self.0);
        tokens.retain(|_, grant| grant.expires > now);
        tokens.insert(token.clone(), grant);
        Ok(token)
    }

    /// What the value of an `Authorization` header stands for, if it is a token that is still good.
    pub fn judge(&self, authorization: &str) -> Option<Grant> {
        let (kind, token) = authorization.split_once(' ')?;
        let grant = lock(&self.0).get(token).cloned()?;
        let good = kind.eq_ignore_ascii_case("bearer") && grant.expires > Instant::now();
        good.then_some(grant)
    }
}

/// A token with the claims that UAA puts in. Nobody here checks the signature, but it is a real one.
fn jwt(user: &User, client: &str, lifetime: Duration) -> Result<String, KeyError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let header = json!({"alg": "HS256", "kid": "devcell", "typ": "JWT"});
    let claims = json!({
        "jti": random_hex(16)?,
        "sub": user.id,
        "user_id": user.id,
        "user_name": user.name,
        "email": user.name,
        "origin": "uaa",
        "client_id": client,
        "cid": client,
        "azp": client,
        "grant_type": "authorization_code",
        "scope": user.scopes,
        "aud": ["cloud_controller", client, "openid"],
        "iss": "https://uaa.devcell.example.com/oauth/token",
        "iat": now,
        "exp": now + lifetime.as_secs(),
        "zid": "uaa",
        "rev_sig": "devcell",
    });
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, random_hex(32)?.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn tokens_are_known_by_their_text_and_carry_claims() {
        let (tokens, user) = (Tokens::default(), User::new("u1", "ann"));
        let jwt = tokens.issue(&user, "c", &TokenShape::Jwt, HOUR).unwrap();
        let parts: Vec<&str> = jwt.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            (&claims["user_id"], &claims["user_name"]),
            (&json!("u1"), &json!("ann"))
        );
        assert_eq!(tokens.judge(&format!("bearer {jwt}")).unwrap().user, user);
        assert_eq!(tokens.judge(&format!("basic {jwt}")), None);
        assert_eq!(tokens.judge("bearer x"), None);
        let shape = TokenShape::Exactly("with space".to_owned());
        let odd = tokens.issue(&user, "c", &shape, HOUR).unwrap();
        assert!(tokens.judge(&format!("Bearer {odd}")).is_some());
        let old = tokens.issue(&user, "c", &TokenShape::Jwt, Duration::ZERO);
        assert_eq!(tokens.judge(&format!("bearer {}", old.unwrap())), None);
    }
}
