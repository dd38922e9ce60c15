//! Sessions of the management API: log-in with lock-out, tokens, idle expiry. A plain value; time is an argument.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::codes::{self, Failure};

/// User names whose wrong passwords are remembered at a time.
const REMEMBERED_USERS: usize = 64;
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
    /// How long an account stays locked.
    pub(crate) lock_for: Duration,
}

struct Session {
    token: String,
    /// The vStore that it is confined to; none for the administrator's.
    vstore: Option<u64>,
    used: Duration,
}

#[derive(Default)]
struct Attempts {
    wrong: u32,
    last: Duration,
    locked_until: Option<Duration>,
}

/// All sessions of one array.
pub(crate) struct Sessions {
    rules: Rules,
    open: Vec<Session>,
    attempts: BTreeMap<String, Attempts>,
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
    /// Compares in constant time for equal lengths, and always both parts.
    fn matches(&self, other: &Self) -> bool {
        let user = self.user.as_bytes().ct_eq(other.user.as_bytes());
        let password = self.password.as_bytes().ct_eq(other.password.as_bytes());
        (user & password).into()
    }
}

impl Sessions {
    /// No sessions yet.
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, open: Vec::new(), attempts: BTreeMap::new() }
    }

    /// Opens a session under `token` when the credentials are right.
    pub(crate) fn login(
        &mut self,
        now: Duration,
        given: &Credentials<'_>,
        right: &Credentials<'_>,
        token: String,
        vstore: Option<u64>,
    ) -> Result<(), Failure> {
        if given.user.len() > USER_BYTES {
            return Err(codes::WRONG_CREDENTIALS.into());
        }
        if let Some(attempts) = self.attempts.get(given.user)
            && let Some(until) = attempts.locked_until
        {
            if now < until {
                return Err(codes::ACCOUNT_LOCKED.into());
            }
            self.attempts.remove(given.user);
        }
        if !given.matches(right) {
            self.count_wrong(now, given.user);
            return Err(codes::WRONG_CREDENTIALS.into());
        }
        self.attempts.remove(given.user);
        self.expire_idle(now);
        if self.open.len() >= self.rules.limit {
            return Err(codes::TOO_MANY_SESSIONS.into());
        }
        self.open.push(Session { token, vstore, used: now });
        Ok(())
    }

    fn count_wrong(&mut self, now: Duration, user: &str) {
        if self.rules.lock_after == 0 {
            return;
        }
        if !self.attempts.contains_key(user) && self.attempts.len() >= REMEMBERED_USERS {
            let oldest =
                self.attempts.iter().min_by_key(|(_, attempts)| attempts.last).map(|(user, _)| user.clone());
            if let Some(oldest) = oldest {
                self.attempts.remove(&oldest);
            }
        }
        let attempts = self.attempts.entry(user.to_owned()).or_default();
        attempts.wrong += 1;
        attempts.last = now;
        if attempts.wrong >= self.rules.lock_after {
            attempts.locked_until = Some(now + self.rules.lock_for);
        }
    }

    /// The live session that the token names, by its vStore; it counts as used now.
    pub(crate) fn touch(&mut self, now: Duration, token: &str) -> Option<Option<u64>> {
        self.expire_idle(now);
        let mut found = None;
        // Every token is compared, so that the time does not tell which one came close.
        for (at, session) in self.open.iter().enumerate() {
            if bool::from(session.token.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(at);
            }
        }
        let session = self.open.get_mut(found?)?;
        session.used = now;
        Some(session.vstore)
    }

    /// Ends the session of the token.
    pub(crate) fn logout(&mut self, token: &str) {
        self.open.retain(|session| !bool::from(session.token.as_bytes().ct_eq(token.as_bytes())));
    }

    /// Ends every session.
    pub(crate) fn expire_all(&mut self) {
        self.open.clear();
    }

    /// Forgets wrong passwords and locks.
    pub(crate) fn unlock_all(&mut self) {
        self.attempts.clear();
    }

    /// Live sessions.
    pub(crate) fn count(&mut self, now: Duration) -> usize {
        self.expire_idle(now);
        self.open.len()
    }

    fn expire_idle(&mut self, now: Duration) {
        let idle = self.rules.idle;
        self.open.retain(|session| now.saturating_sub(session.used) < idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { limit: 2, idle: Duration::from_secs(100), lock_after: 3, lock_for: Duration::from_secs(900) };
    const RIGHT: Credentials<'static> = Credentials { user: "admin", password: "secret" };
    const WRONG: Credentials<'static> = Credentials { user: "admin", password: "secreT" };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn login(sessions: &mut Sessions, now: u64, given: &Credentials<'_>, token: &str) -> i64 {
        sessions
            .login(at(now), given, &RIGHT, token.to_owned(), None)
            .map_or_else(|failure| failure.code, |()| 0)
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
        assert!(sessions.attempts.len() <= REMEMBERED_USERS);
        let long = "x".repeat(10_000);
        assert_eq!(
            login(&mut sessions, 0, &Credentials { user: &long, password: "x" }, "t"),
            codes::WRONG_CREDENTIALS
        );
        assert!(!format!("{sessions:?}").contains("secret"));
    }
}
