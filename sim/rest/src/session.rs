//! Sessions of the management API: log-in with lock-out, tokens, idle expiry. A plain value; time is an argument.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::codes::{self, Failure};

/// User names, and client addresses, whose wrong passwords are remembered at a time.
const REMEMBERED: usize = 64;
/// Longest user name that is remembered, in bytes.
const USER_BYTES: usize = 256;

/// The rules that a session table follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Most sessions at a time.
    pub(crate) limit: usize,
    /// A session unused for this long is gone.
    pub(crate) idle: Duration,
    /// Wrong passwords in a row that lock an account; 0 never locks.
    pub(crate) lock_after: u32,
    /// Wrong passwords in a row that lock an address; 0 never locks.
    pub(crate) lock_address_after: u32,
    /// How long an account or address stays locked.
    pub(crate) lock_for: Duration,
}

/// SHA-256 of a token. Sessions are found by it: how long a look-up takes says nothing about the tokens, since nobody can
/// choose a token whose hash comes close to another's.
type TokenHash = [u8; 32];

fn hash(text: &str) -> TokenHash {
    Sha256::digest(text.as_bytes()).into()
}

/// Wrong passwords in a row.
#[derive(Default)]
struct Attempts {
    wrong: u32,
    last: Duration,
    locked_until: Option<Duration>,
}

/// Wrong passwords by user name or by address; bounded, the oldest is forgotten first.
struct Ledger<K>(BTreeMap<K, Attempts>);

impl<K: Ord + Clone> Ledger<K> {
    fn is_locked(&mut self, now: Duration, who: &K) -> bool {
        let Some(until) = self.0.get(who).and_then(|attempts| attempts.locked_until) else { return false };
        if now >= until {
            self.0.remove(who);
        }
        now < until
    }

    fn count_wrong(&mut self, now: Duration, who: &K, lock_after: u32, lock_for: Duration) {
        if lock_after == 0 {
            return;
        }
        if !self.0.contains_key(who) && self.0.len() >= REMEMBERED {
            let oldest = self.0.iter().min_by_key(|(_, attempts)| attempts.last).map(|(who, _)| who.clone());
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
        let attempts = self.0.entry(who.clone()).or_default();
        attempts.wrong += 1;
        attempts.last = now;
        if attempts.wrong >= lock_after {
            attempts.locked_until = Some(now + lock_for);
        }
    }
}

/// One open session, as people may see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// When it was opened.
    pub(crate) since: Duration,
    /// When it was used last.
    pub(crate) used: Duration,
    /// The client's address.
    pub(crate) from: Option<IpAddr>,
    /// The vStore that it is confined to; none for the administrator's.
    pub(crate) vstore: Option<u64>,
}

/// All sessions of one array.
pub(crate) struct Sessions {
    rules: Rules,
    open: BTreeMap<TokenHash, Session>,
    users: Ledger<String>,
    addresses: Ledger<IpAddr>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("rules", &self.rules)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

/// Name and password that open a session; never shown.
pub(crate) struct Credentials<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

impl Credentials<'_> {
    /// Compares in a time that depends on neither content nor length, and always both parts.
    fn matches(&self, other: &Self) -> bool {
        let user = hash(self.user).ct_eq(&hash(other.user));
        let password = hash(self.password).ct_eq(&hash(other.password));
        (user & password).into()
    }
}

impl Sessions {
    /// No sessions yet.
    pub(crate) fn new(rules: Rules) -> Self {
        let (users, addresses) = (Ledger(BTreeMap::new()), Ledger(BTreeMap::new()));
        Self { rules, open: BTreeMap::new(), users, addresses }
    }

    /// Opens a session under `token`, for a client at an address and confined to a vStore, when the credentials are right.
    pub(crate) fn login(
        &mut self,
        now: Duration,
        given: &Credentials<'_>,
        right: &Credentials<'_>,
        (from, vstore): (Option<IpAddr>, Option<u64>),
        token: &str,
    ) -> Result<(), Failure> {
        if from.is_some_and(|from| self.addresses.is_locked(now, &from)) {
            return Err(codes::ADDRESS_LOCKED.into());
        }
        if given.user.len() > USER_BYTES {
            return Err(codes::WRONG_CREDENTIALS.into());
        }
        let user = given.user.to_owned();
        if self.users.is_locked(now, &user) {
            return Err(codes::ACCOUNT_LOCKED.into());
        }
        if !given.matches(right) {
            let Rules { lock_after, lock_address_after, lock_for, .. } = self.rules;
            self.users.count_wrong(now, &user, lock_after, lock_for);
            if let Some(from) = from {
                self.addresses.count_wrong(now, &from, lock_address_after, lock_for);
            }
            return Err(codes::WRONG_CREDENTIALS.into());
        }
        self.users.0.remove(&user);
        if let Some(from) = from {
            self.addresses.0.remove(&from);
        }
        self.expire_idle(now);
        if self.open.len() >= self.rules.limit {
            return Err(codes::TOO_MANY_SESSIONS.into());
        }
        self.open.insert(hash(token), Session { since: now, used: now, from, vstore });
        Ok(())
    }

    /// The live session that the token names, by its vStore; it counts as used now.
    pub(crate) fn touch(&mut self, now: Duration, token: &str) -> Option<Option<u64>> {
        let idle = self.rules.idle;
        let session = self.open.get_mut(&hash(token))?;
        if now.saturating_sub(session.used) >= idle {
            return None;
        }
        session.used = now;
        Some(session.vstore)
    }

    /// Ends the session of the token.
    pub(crate) fn logout(&mut self, token: &str) {
        self.open.remove(&hash(token));
    }

    /// Ends every session.
    pub(crate) fn expire_all(&mut self) {
        self.open.clear();
    }

    /// Forgets wrong passwords and locks.
    pub(crate) fn unlock_all(&mut self) {
        self.users.0.clear();
        self.addresses.0.clear();
    }

    /// Live sessions.
    pub(crate) fn count(&mut self, now: Duration) -> usize {
        self.expire_idle(now);
        self.open.len()
    }

    /// Live sessions, the oldest first.
    pub(crate) fn list(&mut self, now: Duration) -> Vec<Session> {
        self.expire_idle(now);
        let mut all: Vec<Session> = self.open.values().copied().collect();
        all.sort_by_key(|session| session.since);
        all
    }

    fn expire_idle(&mut self, now: Duration) {
        let idle = self.rules.idle;
        self.open.retain(|_, session| now.saturating_sub(session.used) < idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        limit: 2,
        idle: Duration::from_secs(100),
        lock_after: 3,
        lock_address_after: 5,
        lock_for: Duration::from_secs(900),
    };
    const RIGHT: Credentials<'static> = Credentials { user: "admin", password: "secret" };
    const WRONG: Credentials<'static> = Credentials { user: "admin", password: "secreT" };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn login(sessions: &mut Sessions, now: u64, given: &Credentials<'_>, token: &str) -> i64 {
        login_from(sessions, now, given, None, token)
    }

    fn login_from(
        sessions: &mut Sessions,
        now: u64,
        given: &Credentials<'_>,
        from: Option<IpAddr>,
        token: &str,
    ) -> i64 {
        let done = sessions.login(at(now), given, &RIGHT, (from, None), token);
        done.map_or_else(|failure| failure.code, |()| 0)
    }

    #[test]
    fn an_address_that_tries_many_accounts_is_locked_alone() {
        let mut sessions = Sessions::new(RULES);
        let [bad, good] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| Some(IpAddr::from(ip)));
        for n in 0..5 {
            let user = format!("guess{n}");
            let given = Credentials { user: &user, password: "x" };
            assert_eq!(login_from(&mut sessions, n, &given, bad, "t"), codes::WRONG_CREDENTIALS);
        }
        assert_eq!(login_from(&mut sessions, 5, &RIGHT, bad, "t"), codes::ADDRESS_LOCKED);
        assert_eq!(login_from(&mut sessions, 5, &RIGHT, good, "t"), 0);
        assert_eq!(login_from(&mut sessions, 904, &RIGHT, bad, "u"), 0, "the lock has passed");
    }

    #[test]
    fn idle_sessions_expire_and_used_ones_stay() {
        let mut sessions = Sessions::new(RULES);
        assert_eq!(login(&mut sessions, 0, &RIGHT, "a"), 0);
        assert!(sessions.touch(at(99), "a").is_some());
        assert!(sessions.touch(at(198), "a").is_some());
        assert!(sessions.touch(at(298), "a").is_none());
        assert_eq!(sessions.count(at(298)), 0);
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_by_expiry() {
        let mut sessions = Sessions::new(RULES);
        assert_eq!(login(&mut sessions, 0, &RIGHT, "a"), 0);
        assert_eq!(login(&mut sessions, 50, &RIGHT, "b"), 0);
        assert_eq!(login(&mut sessions, 60, &RIGHT, "c"), codes::TOO_MANY_SESSIONS);
        assert_eq!(login(&mut sessions, 100, &RIGHT, "c"), 0);
        assert!(sessions.touch(at(101), "b").is_some() && sessions.touch(at(101), "a").is_none());
        sessions.logout("b");
        assert!(sessions.touch(at(101), "b").is_none() && sessions.touch(at(101), "c").is_some());
        sessions.expire_all();
        assert!(sessions.touch(at(101), "c").is_none());
    }

    #[test]
    fn wrong_passwords_lock_the_account_for_a_while() {
        let mut sessions = Sessions::new(RULES);
        for _ in 0..2 {
            assert_eq!(login(&mut sessions, 0, &WRONG, "x"), codes::WRONG_CREDENTIALS);
        }
        assert_eq!(login(&mut sessions, 1, &RIGHT, "a"), 0, "a right password starts the count anew");
        for _ in 0..3 {
            assert_eq!(login(&mut sessions, 2, &WRONG, "x"), codes::WRONG_CREDENTIALS);
        }
        assert_eq!(login(&mut sessions, 3, &RIGHT, "b"), codes::ACCOUNT_LOCKED);
        assert_eq!(login(&mut sessions, 901, &RIGHT, "b"), codes::ACCOUNT_LOCKED);
        assert_eq!(login(&mut sessions, 902, &RIGHT, "b"), 0);
    }

    #[test]
    fn remembered_names_are_bounded() {
        let mut sessions = Sessions::new(RULES);
        for n in 0..1000 {
            let user = format!("u{n}");
            let given = Credentials { user: &user, password: "x" };
            assert_eq!(login(&mut sessions, n, &given, "t"), codes::WRONG_CREDENTIALS);
        }
        assert!(sessions.users.0.len() <= REMEMBERED);
        let long = "x".repeat(10_000);
        assert_eq!(
            login(&mut sessions, 0, &Credentials { user: &long, password: "x" }, "t"),
            codes::WRONG_CREDENTIALS
        );
        assert!(!format!("{sessions:?}").contains("secret"));
    }
}
