//! Why a call came to nothing, by what its caller can do.

use redis::RedisError;

/// Why a call came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::store::redis) enum LinkError {
    /// Nothing was done: there is no connection, the server refused before it began, or everything is suspended.
    #[error("{0}")]
    Unavailable(String),
    /// It may have been done: no answer came, or too few replicas have it.
    #[error("{0}")]
    Unknown(String),
    /// There is no ledger in the store, and this replica never saw one.
    #[error("{0}")]
    NotInitialised(String),
    /// The script itself said no: the word behind `GRATIS` and the rest.
    #[error("{code} {detail}")]
    Script {
        /// The word.
        code: String,
        /// The rest.
        detail: String,
    },
    /// Anything else that a server says: a mistake of ours or a foreign store.
    #[error("{0}")]
    Corrupt(String),
}

/// What one exchange with a server came to, where it did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The script is not loaded there. Nothing was done.
    #[error("the script is not loaded")]
    NoScript,
    /// The slot is elsewhere. Nothing was done.
    #[error("the slot has moved to {0}")]
    Moved(String),
    /// The key is elsewhere while its slot is on its way. Nothing was done.
    #[error("the slot is on its way to {0}")]
    Ask(String),
    /// The server does not take calls now, and another may: it is no primary, or it is loading. Nothing was done.
    #[error("{0}")]
    Unfit(String),
    /// Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// The connection was lost.
    #[error("{0}")]
    Lost(String),
    /// It was done, and too few replicas have it.
    #[error("{0}")]
    Short(String),
    /// The script said no.
    #[error("{code} {detail}")]
    Script { code: String, detail: String },
    /// The access list forbids it: part of it may have been done.
    #[error("{0}")]
    Forbidden(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Fault {
    /// What an error of the client means. Scripts check everything before they write, so that a refusal within one, which comes at
    /// the first write, has changed nothing.
    pub(super) fn of(error: &RedisError) -> Self {
        if error.is_io_error() || error.is_unrecoverable_error() {
            return Self::Lost(error.to_string());
        }
        let detail = error.detail().unwrap_or_default();
        let Some(code) = error.code() else { return Self::Other(error.to_string()) };
        // Redis 6.2 wraps what a command within a script says: `ERR Error running script (call to f_...): @user_script:1: -OOM ...`.
        match detail.split_once(": -").filter(|_| code == "ERR" && detail.starts_with("Error running script")) {
            Some((_, inner)) => {
                let (code, detail) = inner.split_once(' ').unwrap_or((inner, ""));
                Self::said(code, detail)
            }
            None => Self::said(code, detail),
        }
    }

    fn said(code: &str, detail: &str) -> Self {
        let text = format!("{code} {detail}");
        let second = || detail.split_whitespace().nth(1).unwrap_or_default().to_owned();
        match code {
            "GRATIS" => {
                let (code, detail) = detail.split_once(' ').unwrap_or((detail, ""));
                Self::Script { code: code.to_owned(), detail: detail.to_owned() }
            }
            "NOSCRIPT" => Self::NoScript,
            "MOVED" => Self::Moved(second()),
            "ASK" => Self::Ask(second()),
            "READONLY" | "LOADING" | "MASTERDOWN" => Self::Unfit(text),
            "CLUSTERDOWN" | "TRYAGAIN" | "OOM" | "NOREPLICAS" | "MISCONF" | "BUSY" | "NOAUTH" | "WRONGPASS" => {
                Self::Refused(text)
            }
            "NOPERM" => Self::Forbidden(text),
            _ => Self::Other(text),
        }
    }
}

impl From<Fault> for LinkError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoScript => Self::Unavailable("the server forgets its scripts at once".to_owned()),
            Fault::Moved(to) | Fault::Ask(to) => Self::Unavailable(format!("the slot is on its way to {to}")),
            Fault::Unfit(text) | Fault::Refused(text) => Self::Unavailable(text),
            Fault::Lost(text) | Fault::Short(text) | Fault::Forbidden(text) => Self::Unknown(text),
            Fault::Script { code, detail } => Self::Script { code, detail },
            Fault::Other(text) => Self::Corrupt(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reply: &str) -> LinkError {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).unwrap();
        LinkError::from(Fault::of(&value.extract_error().unwrap_err()))
    }

    #[test]
    fn each_word_of_a_server_has_its_meaning() {
        for reply in [
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "CLUSTERDOWN The cluster is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOREPLICAS Not enough good replicas to write.",
            "MISCONF Errors writing to the AOF file: No space left on device",
            "BUSY Redis is busy running a script.",
            "NOAUTH Authentication required.",
            "MOVED 1 127.0.0.1:7000",
            "ASK 1 127.0.0.1:7000",
            "NOSCRIPT No matching script. Please use EVAL.",
            "ERR Error running script (call to f_0): @user_script:1: -OOM command not allowed",
        ] {
            assert!(matches!(told(reply), LinkError::Unavailable(_)), "{reply}: {:?}", told(reply));
        }
        let script = LinkError::Script { code: "NOACCOUNT".to_owned(), detail: "no such account".to_owned() };
        assert_eq!(told("GRATIS NOACCOUNT no such account"), script);
        assert!(matches!(told("NOPERM this user has no permissions"), LinkError::Unknown(_)));
        for reply in ["ERR unknown command", "WRONGTYPE Operation against a key", "CROSSSLOT Keys in request"] {
            assert!(matches!(told(reply), LinkError::Corrupt(_)), "{reply}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_open() {
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(LinkError::from(Fault::of(&lost)), LinkError::Unknown(_)));
    }

    #[test]
    fn a_redirection_names_where_to() {
        let value = redis::parse_redis_value(b"-MOVED 3999 127.0.0.1:6381\r\n").unwrap();
        let fault = Fault::of(&value.extract_error().unwrap_err());
        assert!(matches!(&fault, Fault::Moved(to) if to == "127.0.0.1:6381"), "{fault:?}");
    }
}
