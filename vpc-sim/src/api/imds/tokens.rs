//! The tokens of IMDSv2.

use rand::Rng;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use vpc::{InstanceId, Time};

/// Tokens that are remembered. AWS knows no limit; a client that asks for one with every request
/// and for six hours each would otherwise fill the memory.
const TOKENS_KEPT: usize = 100_000;

/// Characters of a token, before the `==` that each ends with.
const TOKEN_LENGTH: usize = 54;

/// Which token is good, where, until when.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, (InstanceId, Time)>>);

impl Tokens {
    pub(super) fn issue(&self, instance: InstanceId, now: Time, ttl: Duration) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut rng = rand::rng();
        let pick = |_| char::from(alphabet[rng.random_range(0..alphabet.len())]);
        let token: String = (0..TOKEN_LENGTH).map(pick).chain("==".chars()).collect();

        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_KEPT {
            tokens.retain(|_, (_, until)| *until > now);
        }
        if tokens.len() >= TOKENS_KEPT {
            let soonest = tokens.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(soonest) = soonest.map(|(token, _)| token.clone()) {
                tokens.remove(&soonest);
            }
        }
        tokens.insert(token.clone(), (instance, now + ttl));
        token
    }

    /// Whether a token was issued to this instance and is not over.
    pub(super) fn is_good(&self, token: &str, instance: &InstanceId, now: Time) -> bool {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).is_some_and(|(owner, until)| owner == instance && now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    #[test]
    fn a_token_is_good_on_its_instance_until_its_time_is_over() {
        let tokens = Tokens::default();
        let (mine, other) = (InstanceId("i-1".into()), InstanceId("i-2".into()));

        let token = tokens.issue(mine.clone(), Time::ZERO, TTL);

        assert_eq!(token.len(), 56);
        assert!(tokens.is_good(&token, &mine, Time::ZERO));
        assert!(!tokens.is_good(&token, &other, Time::ZERO));
        assert!(!tokens.is_good(&token, &mine, Time(TTL)));
        assert!(!tokens.is_good("", &mine, Time::ZERO));
    }
}
