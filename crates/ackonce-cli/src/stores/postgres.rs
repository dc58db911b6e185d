//! `postgres://…?option=value`.

use ackonce::{Error, ErrorKind, Result};
use ackonce_postgres::{Names, OnUnsafe, PostgresConfig, PostgresStore, Prepare, SchemaName, Sweep, Tables};

use super::url::{Parts, UrlError, millis, number, unknown, word};

const OPTIONS: &str = "schema, connections, request_timeout_ms, lock_timeout_ms, prepare, unsafe, tables, sweep and \
     names, beside those of libpq such as sslmode";
/// Those that go to the driver as they are.
const OF_DRIVER: [&str; 20] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// A PostgreSQL server with the options of its URL.
#[derive(Debug, Clone)]
pub struct PostgresUrl {
    config: PostgresConfig,
}

impl PostgresUrl {
    /// The store's configuration.
    #[must_use]
    pub fn config(&self) -> &PostgresConfig {
        &self.config
    }

    pub(super) fn of(parts: &Parts<'_>) -> std::result::Result<Self, UrlError> {
        if !parts.place.starts_with("//") {
            return Err(UrlError::NoServer(parts.scheme.to_owned()));
        }
        let config = PostgresConfig::new(&parts.with_options(&OF_DRIVER)).map_err(|e| refused(&e))?;
        let ours = parts.options.iter().copied().filter(|(name, _)| !OF_DRIVER.contains(name));
        Ok(Self { config: ours.into_iter().try_fold(config, set)? })
    }

    pub(super) fn schema_sql(&self) -> String {
        self.config.schema_sql()
    }

    pub(super) async fn create_schema(&self) -> Result<()> {
        self.config.create_schema().await
    }

    /// Refuses a role that lacks a privilege: its consumer would wait for it at each claim. A server that does not tell refuses
    /// nobody.
    pub(super) async fn check_rights(&self) -> Result<()> {
        let Ok(survey) = self.config.survey().await else { return Ok(()) };
        let missing = survey.tables.map(|tables| tables.missing_rights).unwrap_or_default();
        if missing.is_empty() {
            return Ok(());
        }
        let (role, missing) = (survey.role, missing.join(", "));
        let message = format!("postgres: the role {role} lacks privileges; GRANT it {missing}");
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Connects, and looks at the server.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn open(&self) -> Result<PostgresStore> {
        self.config.clone().connect().await
    }
}

/// The driver keeps to the last cause which option is wrong. None of them tells a value.
fn refused(error: &Error) -> UrlError {
    UrlError::Refused(ackonce::chain(error).to_string())
}

fn set(config: PostgresConfig, option: (&str, &str)) -> std::result::Result<PostgresConfig, UrlError> {
    Ok(match option.0 {
        "schema" => config.with_schema(SchemaName::new(option.1).map_err(|e| refused(&e))?),
        "connections" => config.with_connections(number::<u16>(option, "a number of connections")?.into()),
        "request_timeout_ms" => config.with_request_timeout(millis(option)?),
        "lock_timeout_ms" => config.with_lock_timeout(millis(option)?),
        "prepare" => {
            let words = [("cached", Prepare::Cached), ("never", Prepare::Never)];
            config.with_prepare(word(option, "cached or never", &words)?)
        }
        "unsafe" => {
            let words = [("refuse", OnUnsafe::Refuse), ("downgrade", OnUnsafe::Downgrade)];
            config.with_unsafe(word(option, "refuse or downgrade", &words)?)
        }
        "tables" => {
            let words = [("expected", Tables::Expected), ("create", Tables::CreateMissing)];
            config.with_tables(word(option, "expected or create", &words)?)
        }
        "sweep" => {
            let words = [("automatic", Sweep::Automatic), ("manual", Sweep::Manual)];
            config.with_sweep(word(option, "automatic or manual", &words)?)
        }
        "names" => {
            let words = [("buried", Names::Buried), ("keep", Names::Keep), ("omit", Names::Omit)];
            config.with_names(word(option, "buried, keep or omit", &words)?)
        }
        name => return Err(unknown(name, OPTIONS)),
    })
}
