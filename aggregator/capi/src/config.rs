//! What an aggregator is started with.

use std::ffi::{CStr, OsStr, c_char};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use framelock_aggregator::config::{Settings, SettingsError};
use framelock_aggregator::ntp::NtpSettings;
use framelock_common::time::Span;

use crate::{Failure, FramelockError, FramelockResult, args, run};

/// What an aggregator is started with: its cameras, and how it puts their frames together.
#[derive(Debug, Default)]
pub struct FramelockConfig {
    settings: Mutex<Settings>,
}

impl FramelockConfig {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A config without cameras. It is the caller's, to be freed with framelock_config_free(). Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_config_new() -> *mut FramelockConfig {
    args::hand_over(FramelockConfig::default())
}

/// Frees a config; nothing happens for NULL. An aggregator that was started with it goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_free(config: *mut FramelockConfig) {
    // SAFETY: the preface of the header: a config of ours, which nobody uses any more.
    unsafe { args::take_back(config) }
}

/// Takes all settings from the configuration file `path` (TOML, as framelock-aggregator reads it), in place of what
/// was set before. What concerns that program alone (queue, decode, output) has no effect here.
///
/// Fails with #FRAMELOCK_RESULT_CONFIG when the file cannot be read or is wrong; the message says where.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_read(
    config: *mut FramelockConfig,
    path: *const c_char,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        change(config, error, |settings| {
            args::not_null(path, "path")?;
            let path = Path::new(OsStr::from_bytes(CStr::from_ptr(path).to_bytes()));
            *settings = Settings::read(path)?;
            Ok(())
        })
    }
}

/// Adds a camera, after those that there are: its name, 1 to 64 printable characters, and its source, such as
/// "rtp://:5000" or "rtsp://user:password@host/path". The name "*" makes every sender that arrives on an rtp://
/// source a camera, named by its sender.
///
/// Fails with #FRAMELOCK_RESULT_CONFIG when the name or the source cannot be. Whether names and ports are there
/// only once is seen when the aggregator starts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_add_camera(
    config: *mut FramelockConfig,
    name: *const c_char,
    source: *const c_char,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        change(config, error, |settings| {
            let (name, source) = (args::text(name, "name")?, args::text(source, "source")?);
            Ok(settings.add_camera(name, source)?)
        })
    }
}

/// Which frames make a packet: "tightest" (the default), "last-before" or "exact:TOLERANCE", for example "exact:5ms".
///
/// Fails with #FRAMELOCK_RESULT_CONFIG for another text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_set_policy(
    config: *mut FramelockConfig,
    policy: *const c_char,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        change(config, error, |settings| {
            settings.sync.policy = args::text(policy, "policy")?.parse().map_err(SettingsError::from)?;
            Ok(())
        })
    }
}

/// How many packets a second: as many as the "slowest" camera alive has frames (the default), the "fastest", or a
/// number with up to three decimals, for example "29.97".
///
/// Fails with #FRAMELOCK_RESULT_CONFIG for another text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_set_rate(
    config: *mut FramelockConfig,
    rate: *const c_char,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        change(config, error, |settings| {
            settings.sync.rate = args::text(rate, "rate")?.parse().map_err(SettingsError::from)?;
            Ok(())
        })
    }
}

/// How long a packet waits for frames after its first, in ns, 0 to 60 s; two frame periods if it is not set.
///
/// Fails with #FRAMELOCK_RESULT_CONFIG for another time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_set_max_wait_ns(
    config: *mut FramelockConfig,
    max_wait_ns: i64,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        change(config, error, |settings| {
            try_set(settings, |settings| settings.sync.max_wait = Some(Span::from_nanos(max_wait_ns)))
        })
    }
}

/// The most senders of one "*" source that become cameras, 1 to 1024; 64 if it is not set.
///
/// Fails with #FRAMELOCK_RESULT_CONFIG for another number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_set_max_cameras(
    config: *mut FramelockConfig,
    max_cameras: usize,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        change(config, error, |settings| try_set(settings, |settings| settings.max_cameras = max_cameras))
    }
}

/// Serves this machine's clock to the boards by NTP on UDP port `port`, or where that is 0, on one that the system
/// chooses: see framelock_aggregator_ntp_address(). `address` is the IP address to listen on; NULL for all.
/// `local_stratum`, 1 to 15: on a network without any other time, the stratum at which this machine's clock is the
/// reference; 0 for none.
///
/// Fails with #FRAMELOCK_RESULT_CONFIG when the address is none or the stratum out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_config_set_ntp(
    config: *mut FramelockConfig,
    address: *const c_char,
    port: u16,
    local_stratum: u8,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        change(config, error, |settings| {
            let address = if address.is_null() { None } else { Some(args::text(address, "address")?) };
            let local_stratum = (local_stratum != 0).then_some(local_stratum);
            let listen = SocketAddr::new(ip_address(address)?, port);
            let ntp = NtpSettings { listen, local_stratum, optional: false };
            try_set(settings, |settings| settings.ntp = Some(ntp))
        })
    }
}

fn ip_address(text: Option<&str>) -> Result<IpAddr, Failure> {
    let Some(text) = text else { return Ok(NtpSettings::default().listen.ip()) };
    let wrong = |_| {
        let text: String = text.chars().take(64).collect();
        Failure::new(FramelockResult::Config, format!("ntp: \"{text}\" is no IP address"))
    };
    text.parse().map_err(wrong)
}

/// Changes the settings of `config`; where `body` fails, they stay as they were.
///
/// # Safety
/// `config` and `error` are as the preface of the header wants them.
unsafe fn change(
    config: *mut FramelockConfig,
    error: *mut FramelockError,
    body: impl FnOnce(&mut Settings) -> Result<(), Failure>,
) -> FramelockResult {
    // SAFETY: the caller of this function vouches for the arguments.
    unsafe { run(error, || body(&mut args::object(config, "config")?.lock())) }
}

/// Makes a change if the settings are right with it. What other settings there are is not looked at.
fn try_set(settings: &mut Settings, set: impl Fn(&mut Settings)) -> Result<(), Failure> {
    let mut alone = Settings::default();
    set(&mut alone);
    alone.check_values()?;
    set(settings);
    Ok(())
}
